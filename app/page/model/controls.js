// Pause, resume and promote, each asked about before it is done.

import { useAction } from "../action.js";
import { announce } from "../announce.js";
import * as commands from "../commands.js";
import { html, useState } from "../html.js";
import { href } from "../route.js";
import { Button, Dialog, Field, Problem } from "../ui.js";

const WAYS = {
  pause: {
    title: "Pause learning",
    text: "Labels are still taken, and wait in the log. Predictions go on with the live version.",
    perform: commands.pause,
    done: "Learning is being paused.",
  },
  resume: {
    title: "Resume learning",
    text: "Learning goes on where it stopped, with the labels that have waited.",
    perform: commands.resume,
    done: "Learning goes on.",
  },
  promote: {
    title: "Promote what has been learned",
    text: "Makes it the live version at once, whatever the gate says. The newest version stays in the list to roll back to.",
    perform: commands.promote,
    done: "What has been learned is being made the live version.",
  },
};

export function Controls({ model, refresh }) {
  const [asked, setAsked] = useState(null);
  const turn = model.state === "paused" ? "resume" : "pause";
  return html`<div class="buttons">
    <button type="button" onClick=${() => setAsked(turn)}>${turn === "pause" ? "Pause" : "Resume"}</button>
    <button type="button" onClick=${() => setAsked("promote")}>Promote</button>
    <a class="button main" href=${href("models", model.name, "retrain")}>Retrain</a>
    ${asked &&
    html`<${Confirm}
      ...${WAYS[asked]}
      perform=${(id, body) => WAYS[asked].perform(model.name, id, body)}
      onClose=${() => setAsked(null)}
      onDone=${refresh}
    />`}
  </div>`;
}

// Asks whether something is to be done, and why; stays open until it is known that it was.
export function Confirm({ title, text, perform, body = {}, done, danger, onClose, onDone }) {
  const [reason, setReason] = useState("");
  const { busy, error, run } = useAction(perform);

  async function go(event) {
    event.preventDefault();
    const answer = await run(reason ? { ...body, reason } : body);
    if (answer === undefined) return;
    announce(done);
    onDone?.(answer);
    onClose();
  }

  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${go}>
      <p>${text}</p>
      <${Field} label="Reason" hint="Kept with the event; may be empty.">
        ${(tied) =>
          html`<input ...${tied} maxlength="1000" value=${reason} onInput=${(event) => setReason(event.target.value)} />`}
      <//>
      <${Problem} error=${error} again=${true} />
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <${Button} type="submit" kind=${danger ? "danger" : "main"} busy=${busy}>${title}<//>
      </div>
    </form>
  <//>`;
}

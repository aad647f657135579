// What labels and rows of a model are read from: each source with how it does, and what it could not take.

import { useAction } from "../action.js";
import { announce } from "../announce.js";
import { call, path, post, query } from "../api.js";
import { plural, span, words } from "../format.js";
import { html, useState } from "../html.js";
import { useLive } from "../live.js";
import { Ago, Badge, Button, Card, Dialog, Field, Notice, Problem, Table } from "../ui.js";

const TONES = { running: "good", catching_up: "accent", paused: "warn", failing: "bad" };
const COLUMNS = [
  { name: "name", label: "Source" },
  { name: "state", label: "State" },
  { name: "taken", label: "Taken", isNumber: true },
  { name: "dead", label: "Not taken", isNumber: true },
  { name: "lag", label: "Behind" },
  { name: "act", label: "" },
];
const LETTERS = [
  { name: "time", label: "Came" },
  { name: "source", label: "Source" },
  { name: "reason", label: "Why" },
  { name: "raw", label: "Record" },
];
const EXAMPLE = `{
  "type": "redis_stream",
  "name": "labels",
  "url": "redis://127.0.0.1:6379/0",
  "stream": "labels"
}`;

export function SourcesTab({ model }) {
  const where = path("models", model.name, "sources");
  const found = useLive(where, { every: 3, model: model.name });
  const [removed, setRemoved] = useState(null);
  const sources = found.data?.sources ?? [];
  return html`
    <${Card} title=${plural(sources.length, "source")}>
      <${Problem} error=${found.error} />
      ${sources.length > 0 &&
      html`<${Table}
        caption="Sources"
        columns=${COLUMNS}
        rows=${sources}
        rowKey=${(source) => source.name}
        cell=${(source, name) => html`<${Cell} model=${model.name} source=${source} name=${name} onDone=${found.refresh} onRemove=${setRemoved} />`}
      />`}
      ${found.data && !sources.length && html`<p>Labels come by calls alone: there is no stream, table or file that they are read from.</p>`}
    <//>
    <${Letters} model=${model.name} />
    <${Make} model=${model.name} onMade=${found.refresh} />
    ${removed && html`<${Remove} model=${model.name} source=${removed} onClose=${() => setRemoved(null)} onDone=${found.refresh} />`}
  `;
}

function Cell({ model, source, name, onDone, onRemove }) {
  if (name === "name") return html`<strong>${source.name}</strong><span class="sub">${words(source.type)}</span>${goesText(source.spec)}`;
  if (name === "state")
    return html`<${Badge} tone=${TONES[source.state] ?? "neutral"}>${words(source.state)}<//> <span class="sub">
        since <${Ago} time=${source.since} />${source.reason && `: ${source.reason}`}</span
      >
      ${source.gaps.map((gap) => html`<span class="sub">Lost after ${gap.start}, before ${gap.end}: ${gap.reason}</span>`)}`;
  if (name === "lag")
    return html`${lagText(source)}${source.waiting > 0 &&
    html`<span class="sub">${plural(source.waiting, "label")} ${source.waiting === 1 ? "waits" : "wait"} for a prediction</span>`}`;
  if (name === "act") return source.origin === "api" && html`<${Acts} model=${model} source=${source} onDone=${onDone} onRemove=${onRemove} />`;
  return source[name].toLocaleString("en");
}

// Where what a source reads goes: labels are learned, rows are answered and their predictions written.
function goesText({ mode, sink }) {
  if (mode !== "infer") return html`<span class="sub">labels</span>`;
  const where = sink && (sink.topic ?? sink.stream ?? sink.subject ?? sink.routing_key ?? sink.path);
  return html`<span class="sub">rows${sink && html`, predictions to ${words(sink.type)} ${where && html`<code>${where}</code>`}`}</span>`;
}

function lagText({ lag_records: records, lag_seconds: seconds }) {
  if (seconds === null) return "–";
  if (!seconds) return "nothing";
  return records === null ? span(seconds) : `${plural(records, "record")}, ${span(seconds)}`;
}

function Acts({ model, source, onDone, onRemove }) {
  const isPaused = source.state === "paused";
  const { busy, error, run } = useAction((_, body) => call("PATCH", path("models", model, "sources", source.name), { body }));

  async function turn() {
    if ((await run({ paused: !isPaused })) === undefined) return;
    announce(isPaused ? "The source is read on." : "The source is paused.");
    onDone();
  }

  return html`<div class="buttons">
      <${Button} busy=${busy} onClick=${turn} aria-label="${isPaused ? "Resume" : "Pause"} ${source.name}">${isPaused ? "Resume" : "Pause"}<//>
      <button type="button" aria-label="Remove ${source.name}" onClick=${() => onRemove(source)}>Remove</button>
    </div>
    <${Problem} error=${error} />`;
}

function Remove({ model, source, onClose, onDone }) {
  const { busy, error, run } = useAction(() => call("DELETE", path("models", model, "sources", source.name)));

  async function go(event) {
    event.preventDefault();
    if ((await run({})) === undefined) return;
    announce("The source is read no longer.");
    onDone();
    onClose();
  }

  return html`<${Dialog} title="Remove ${source.name}" onClose=${onClose}>
    <form onSubmit=${go}>
      <p>It is read no longer, and what it could not take is dropped. How far it was read is kept: made again, it goes on from there.</p>
      <${Problem} error=${error} />
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <${Button} type="submit" kind="danger" busy=${busy}>Remove<//>
      </div>
    </form>
  <//>`;
}

function Letters({ model }) {
  const where = path("models", model, "dead-letters");
  const { data, refresh } = useLive(where + query({ limit: 20 }), { every: 5, model });
  const { busy, error, run } = useAction(() => post(`${where}/send`, {}));
  const [sent, setSent] = useState(null);
  if (!data?.letters.length && !sent) return null;

  async function send() {
    const done = await run({});
    if (done === undefined) return;
    setSent(done);
    refresh();
  }

  return html`<${Card} title="Not taken">
    <p class="note">Records that sources could not take, the newest first. Sent again, they are read by the source and the model as they are now.</p>
    ${sent && html`<${Notice} role="status"><p>${plural(sent.sent, "record")} taken, ${sent.left} left.</p><//>`}
    ${data?.letters.length > 0 &&
    html`<${Table} caption="Records that were not taken" columns=${LETTERS} rows=${data.letters} rowKey=${(letter) => letter.id} cell=${letterCell} />
      <${Problem} error=${error} />
      <div class="buttons"><${Button} busy=${busy} onClick=${send}>Send all again<//></div>`}
  <//>`;
}

function letterCell(letter, name) {
  if (name === "time") return html`<${Ago} time=${letter.time} />`;
  return name === "raw" ? html`<code class="long">${letter.raw.slice(0, 300)}</code>` : letter[name];
}

function Make({ model, onMade }) {
  const [text, setText] = useState(EXAMPLE);
  const [wrong, setWrong] = useState("");
  const [tried, setTried] = useState(null);
  const where = path("models", model, "sources");
  const making = useAction((_, body) => post(where, body));
  const trying = useAction((_, body) => post(`${where}/try`, body, { seconds: 30 }));

  function parsed() {
    try {
      const value = JSON.parse(text);
      setWrong("");
      return value;
    } catch (error) {
      setWrong(`This is not JSON: ${error.message}`);
      return undefined;
    }
  }

  async function make(event) {
    event.preventDefault();
    const body = parsed();
    if (body === undefined || (await making.run(body)) === undefined) return;
    announce("The source is made.");
    setTried(null);
    onMade();
  }

  async function look() {
    const body = parsed();
    const answer = body === undefined ? undefined : await trying.run(body);
    if (answer !== undefined) setTried(answer.records);
  }

  return html`<${Card} title="A new source">
    <form onSubmit=${make}>
      <${Field} label="Source" error=${wrong} hint="JSON: the type, a name, where it is, and how its records are written. Try it shows the first ten and takes none.">
        ${(tied) => html`<textarea ...${tied} rows="7" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)} />`}
      <//>
      <${Problem} error=${making.error ?? trying.error} />
      <div class="buttons">
        <${Button} busy=${trying.busy} onClick=${look}>Try it<//>
        <${Button} type="submit" kind="main" busy=${making.busy}>Make the source<//>
      </div>
    </form>
    ${tried && html`<${Tried} records=${tried} />`}
  <//>`;
}

const TRIED = [
  { name: "place", label: "Place" },
  { name: "item", label: "As it would be learned" },
  { name: "error", label: "What is wrong" },
];

function Tried({ records }) {
  if (!records.length) return html`<p>Nothing has come within five seconds.</p>`;
  const cell = (record, name) => (name === "item" ? html`<code class="long">${JSON.stringify(record.item ?? record.raw).slice(0, 300)}</code>` : (record[name] ?? "–"));
  return html`<${Table} caption="The first records" columns=${TRIED} rows=${records} cell=${cell} />`;
}

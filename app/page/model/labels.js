// What became of a label, what waits, and what was not learned.

import { get, path } from "../api.js";
import { percent, short, span } from "../format.js";
import { html, useState } from "../html.js";
import { useLive } from "../live.js";
import { Ago, Badge, Button, Card, Field, Problem, Table, Tile } from "../ui.js";
import { Receipt } from "./receipt.js";

export function LabelsTab({ model, metrics }) {
  const { lag, held_out: held, memory } = metrics ?? {};
  return html`
    <dl class="tiles">
      <${Tile} label="Learned" value=${short(model.learned)} />
      <${Tile} label="Waiting" value=${short(model.waiting)} note=${lag?.seconds > 0 ? `oldest ${span(lag.seconds)}` : ""} />
      <${Tile} label="Log" value=${percent(lag?.fullness ?? NaN)} note="of its room is taken" />
      ${memory !== undefined && html`<${Tile} label="Memory" value=${short(memory)} note="kept for replay" />`}
      ${held !== undefined && html`<${Tile} label="Held out" value=${short(held)} note="kept from training" />`}
    </dl>
    <${Lookup} model=${model.name} />
    <${Rejected} model=${model.name} />
  `;
}

const COLUMNS = [
  { name: "id", label: "Label" },
  { name: "state", label: "State" },
  { name: "time", label: "Came" },
  { name: "reason", label: "Why" },
];

function Rejected({ model }) {
  const { data, error } = useLive(path("models", model, "rejected"), { every: 5, model });
  return html`<${Card} title="Not learned">
    <p class="note">Labels that did not fit the model (rejected), or on which its network failed (quarantined): the newest thousand are kept.</p>
    <${Problem} error=${error} />
    ${data && !data.labels.length && html`<p>There is none.</p>`}
    ${data?.labels.length > 0 &&
    html`<${Table} caption="Labels that were not learned" columns=${COLUMNS} rows=${data.labels} rowKey=${(label) => label.n} cell=${cell} />`}
  <//>`;
}

function cell(label, name) {
  if (name === "state") return html`<${Badge} tone="bad">${label.state}<//>`;
  if (name === "time") return html`<${Ago} time=${label.time} />`;
  return label[name];
}

function Lookup({ model }) {
  const [text, setText] = useState("");
  const [state, setState] = useState({});

  async function seek(event) {
    event.preventDefault();
    const given = text.trim();
    if (!given) return;
    setState({ busy: true });
    try {
      setState({ id: await known(model, given) });
    } catch (error) {
      setState({ error });
    }
  }

  return html`<${Card} title="What became of a label">
    <form class="add" onSubmit=${seek}>
      <${Field} label="Id of the item or of the prediction" hint="An item's id is the one that it was given, else p: and the prediction's.">
        ${(tied) => html`<input ...${tied} spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)} />`}
      <//>
      <${Button} type="submit" kind="main" busy=${state.busy}>Look up<//>
    </form>
    <${Problem} error=${state.error} />
    ${state.id && html`<${Receipt} key=${state.id} model=${model} id=${state.id} />`}
  <//>`;
}

// The id under which the server knows an item: the given one, or that of the prediction's own label.
async function known(model, given) {
  const ids = given.startsWith("p:") ? [given] : [given, `p:${given}`];
  let refusal;
  for (const id of ids) {
    try {
      await get(path("models", model, "feedback", id));
      return id;
    } catch (error) {
      if (error.status !== 404) throw error;
      refusal ??= error;
    }
  }
  throw refusal;
}

// The right answer to a prediction, sent once, and followed until the model serves it.

import { useAction } from "../action.js";
import { path, post } from "../api.js";
import { html, useState } from "../html.js";
import { Button, Card, Field, Notice, Problem } from "../ui.js";
import { Receipt } from "./receipt.js";
import { WrongText } from "./rows.js";

export function LabelForm({ model, prediction, classes }) {
  const { spec } = model;
  const [draft, setDraft] = useState({});
  const [wrong, setWrong] = useState(null);
  const [sent, setSent] = useState(null);
  // The item goes by the prediction's id: the server knows it when it comes again.
  const { busy, error, run } = useAction((_, body) => post(path("models", model.name, "feedback"), body));

  async function give(event) {
    event.preventDefault();
    setWrong(null);
    try {
      const label = labelOf(spec, classes, draft);
      const answer = await run({ items: [{ prediction_id: prediction.id, label }] });
      if (answer) setSent(answer.items[0]);
    } catch (raised) {
      if (!(raised instanceof WrongText)) throw raised;
      setWrong(raised);
    }
  }

  if (!prediction.id) return html`<${Notice}><p>This model records no predictions: a label must bring its row.</p><//>`;
  return html`<${Card} title="The right answer">
    ${sent
      ? html`<${Receipt} model=${model.name} id=${sent.id} />`
      : html`<form onSubmit=${give}>
          <${LabelFields} spec=${spec} classes=${classes} draft=${draft} onChange=${setDraft} wrong=${wrong} />
          <${Problem} error=${error} again=${true} />
          <div class="buttons"><${Button} type="submit" kind="main" busy=${busy}>Send the label<//></div>
        </form>`}
  <//>`;
}

function LabelFields({ spec, classes, draft, onChange, wrong }) {
  const set = (name, value) => onChange({ ...draft, [name]: value });
  const error = (name) => (wrong?.field === name ? wrong.message : "");
  if (spec.task === "classification" && classes?.length && spec.classes !== "open") {
    return html`<${Field} label="Class" error=${error("label")}>
      ${(tied) =>
        html`<select ...${tied} required value=${draft.label ?? ""} onChange=${(event) => set("label", event.target.value)}>
          <option value="" disabled>choose</option>
          ${classes.map((name, index) => html`<option value=${index}>${String(name)}</option>`)}
        </select>`}
    <//>`;
  }
  if (spec.task === "multilabel") {
    return html`<fieldset>
      <legend>Classes</legend>
      ${classes.map(
        (name, index) =>
          html`<label class="check"
            ><input type="checkbox" checked=${draft[index] ?? false} onChange=${(event) => set(index, event.target.checked)} /><span
              >${String(name)}</span
            ></label
          >`,
      )}
    </fieldset>`;
  }
  const names = outputsOf(spec);
  return names.map(
    (name) =>
      html`<${Field} label=${name} error=${error(name)}>
        ${(tied) => html`<input ...${tied} required value=${draft[name] ?? ""} onInput=${(event) => set(name, event.target.value)} />`}
      <//>`,
  );
}

// The names of the texts that make a label.
function outputsOf(spec) {
  if (spec.task === "classification") return ["Class"];
  if (Array.isArray(spec.outputs)) return spec.outputs;
  return spec.outputs > 1 ? Array.from({ length: spec.outputs }, (_, index) => `Output ${index}`) : ["Value"];
}

function labelOf(spec, classes, draft) {
  if (spec.task === "multilabel") return classes.filter((_, index) => draft[index]);
  if (spec.task === "classification") return draft.label === undefined ? openClass(classes, draft.Class ?? "") : classes[Number(draft.label)];
  const names = outputsOf(spec);
  const values = names.map((name) => numberOf(name, draft[name] ?? ""));
  if (Array.isArray(spec.outputs)) return Object.fromEntries(names.map((name, index) => [name, values[index]]));
  return names.length > 1 ? values : values[0];
}

// A class that may be new: a known one by its name, else a text, or a whole number where all known ones are.
function openClass(classes, text) {
  const known = (classes ?? []).find((name) => String(name) === text);
  if (known !== undefined) return known;
  const areNumbers = classes?.length > 0 && classes.every((name) => typeof name === "number");
  return areNumbers && /^-?\d+$/.test(text) ? Number(text) : text;
}

function numberOf(name, text) {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new WrongText(name, `“${text}” is not a number`);
  return value;
}

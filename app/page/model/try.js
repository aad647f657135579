// Ask the model about one row, and tell it the right answer.

import { useAction } from "../action.js";
import { path, post, query, send } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Button, Card, Empty, Field, Problem } from "../ui.js";
import { Answer } from "./answer.js";
import { LabelForm } from "./label_form.js";
import { fieldsOf, inputsOf, textsOf } from "./rows.js";

export function TryTab({ model, metrics }) {
  const { spec, name } = model;
  const fields = fieldsOf(spec);
  const [texts, setTexts] = useState({});
  const [wrong, setWrong] = useState(null);
  const [found, setFound] = useState(null);
  const { busy, error, run } = useAction((_, body) => post(path("models", name, "predict"), body));

  async function ask(event) {
    event.preventDefault();
    setWrong(null);
    try {
      const answer = await run({ inputs: inputsOf(spec, texts) });
      if (answer) setFound(answer);
    } catch (raised) {
      if (!raised.field) throw raised;
      setWrong(raised);
    }
  }

  return html`<div class="columns">
    <${Card} title="A row" aside=${html`<${Newest} model=${model} metrics=${metrics} onRow=${(row) => setTexts(textsOf(spec, row))} />`}>
      <form onSubmit=${ask}>
        <div class="fields">
          ${fields.map(
            (field) =>
              html`<${RowField}
                key=${field.name}
                field=${field}
                text=${texts[field.name] ?? ""}
                error=${wrong?.field === field.name ? wrong.message : ""}
                onChange=${(text) => setTexts((before) => ({ ...before, [field.name]: text }))}
              />`,
          )}
        </div>
        <${Problem} error=${error} />
        <div class="buttons"><${Button} type="submit" kind="main" busy=${busy}>Predict<//></div>
      </form>
    <//>
    <div>
      ${found ? html`<${Found} key=${found.predictions[0].id} found=${found} model=${model} />` : html`<${Card} title="The answer"><${Empty}>Ask first.<//><//>`}
    </div>
  </div>`;
}

function RowField({ field, text, error, onChange }) {
  const write = (event) => onChange(event.target.value);
  const hint = field.type === "number" && field.index !== undefined ? undefined : `${field.text}; empty: ${field.type === "tensor" ? "zeros" : "missing"}`;
  return html`<${Field} label=${field.name} hint=${hint} error=${error} className=${field.type === "tensor" || field.type === "text" ? "full" : ""}>
    ${(tied) => {
      if (field.type === "boolean") {
        return html`<select ...${tied} value=${text} onChange=${write}>
          <option value="">missing</option>
          <option value="true">true</option>
          <option value="false">false</option>
        </select>`;
      }
      if (field.type === "tensor") return html`<textarea ...${tied} rows="4" spellcheck="false" value=${text} onInput=${write}></textarea>`;
      return html`<input ...${tied} inputmode=${field.type === "number" ? "decimal" : undefined} placeholder=${field.index === undefined ? "" : "0"} value=${text} onInput=${write} />`;
    }}
  <//>`;
}

// Takes the newest row of the log, which a key without the scope admin may not read.
function Newest({ model, onRow }) {
  const { busy, error, run } = useAction(() => newestRow(model));

  async function take() {
    const row = await run({});
    if (row !== undefined) onRow(row);
  }

  if (!model.learned) return null;
  return html`<${Button} busy=${busy} onClick=${take}>Take the newest row<//>${error && html`<span class="wrong" role="alert">${error.message}</span>`}`;
}

async function newestRow({ name, learned, waiting }) {
  for (const back of [5, 200]) {
    const start = Math.max(1, learned + waiting - back);
    const answer = await send("GET", path("models", name, "log") + query({ start, limit: 2 * back }));
    const lines = (await answer.text()).trim().split("\n").filter(Boolean);
    if (lines.length) return JSON.parse(lines.at(-1)).inputs;
  }
  throw new Error("The log keeps no label.");
}

function Found({ found, model }) {
  const [prediction] = found.predictions;
  const heading = useRef();
  useEffect(() => heading.current.focus(), []);
  return html`<div ref=${heading} tabindex="-1" aria-live="polite">
      <${Card} title="The answer" aside=${`version ${found.version}`}><${Answer} prediction=${prediction} classes=${found.classes} spec=${model.spec} /><//>
    </div>
    <${LabelForm} model=${model} prediction=${prediction} classes=${found.classes} />`;
}


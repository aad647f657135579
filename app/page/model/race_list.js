// The candidates of a race, each by what it changes of the recipe.

import { html, useState } from "../html.js";
import { Field } from "../ui.js";

const EXAMPLES = ["{}", '{"optimizer": {"learning_rate": 0.001}}', '{"loss": "focal"}'];

export function RaceList({ race, onChange }) {
  const [texts, setTexts] = useState([]);

  function put(changed) {
    setTexts(changed);
    onChange(changed.map(read).filter((entry) => entry !== null));
  }

  const add = () => put(texts.length ? [...texts, EXAMPLES[Math.min(texts.length, EXAMPLES.length - 1)]] : EXAMPLES.slice(0, 2));
  return html`
    <p class="note">
      Two to sixteen candidates are trained on the same examples, the better ones for longer; the best goes on to the gate. A candidate is what
      it changes of the recipe, <code>{}</code> that as it is; with edits it is <code>{"recipe": {}, "edits": []}</code>.
    </p>
    ${texts.map(
      (text, index) =>
        html`<div class="add">
          <${Field} label=${`Candidate ${index + 1}`} error=${read(text) === null ? "This is not a JSON object" : ""}>
            ${(tied) =>
              html`<input
                ...${tied}
                spellcheck="false"
                value=${text}
                onInput=${(event) => put(texts.map((each, at) => (at === index ? event.target.value : each)))}
              />`}
          <//>
          <button type="button" aria-label=${`Remove candidate ${index + 1}`} onClick=${() => put(texts.filter((_, at) => at !== index))}>Remove</button>
        </div>`,
    )}
    <button type="button" onClick=${add} disabled=${texts.length >= 16}>Add ${texts.length ? "a candidate" : "two candidates"}</button>
  `;
}

function read(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

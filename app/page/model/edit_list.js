// Edits of the network, in their order, each a form of its own schema.

import { words } from "../format.js";
import { html, useState } from "../html.js";
import { SchemaFields } from "../schema_form.js";
import { Field } from "../ui.js";

const TAG = "type";

export function EditList({ schemas, edits, onChange }) {
  const { choices } = schemas.parts(schemas.union(TAG, "widen"));
  const [type, setType] = useState(Object.keys(choices)[0]);
  const [ids, setIds] = useState([]);
  const replace = (index, edit) => onChange(edits.map((each, at) => (at === index ? edit : each)));

  function add() {
    setIds([...ids, (ids.at(-1) ?? 0) + 1]);
    onChange([...edits, { [TAG]: type }]);
  }

  function remove(index) {
    setIds(ids.filter((_, at) => at !== index));
    onChange(edits.filter((_, at) => at !== index));
  }

  return html`
    ${edits.map(
      (edit, index) =>
        html`<fieldset class="part" key=${ids[index]}>
          <legend>${index + 1}. ${words(edit[TAG])}</legend>
          <div class="nested">
            <${SchemaFields}
              schemas=${schemas}
              properties=${schemas.properties(choices[edit[TAG]])}
              value=${edit}
              onChange=${(changed) => replace(index, changed)}
            />
          </div>
          <button type="button" onClick=${() => remove(index)}>Remove this edit</button>
        </fieldset>`,
    )}
    <div class="add">
      <${Field} label="Kind of edit">
        ${(tied) =>
          html`<select ...${tied} value=${type} onChange=${(event) => setType(event.target.value)}>
            ${Object.keys(choices).map((name) => html`<option value=${name}>${words(name)}</option>`)}
          </select>`}
      <//>
      <button type="button" onClick=${add}>Add an edit</button>
    </div>
  `;
}

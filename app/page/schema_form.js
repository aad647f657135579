// A form made of a JSON schema: what the interface describes can be set here, without a line about it in this page.

import { words, sentence } from "./format.js";
import { html, useState } from "./html.js";
import { Field } from "./ui.js";

const DEFAULT = "";

// The fields of one object; `value` is what it has now, and `onChange` gets it as a whole.
export function SchemaFields({ schemas, properties, value, onChange }) {
  return properties.map(
    ({ name, schema, required }) =>
      html`<${SchemaField}
        key=${name}
        schemas=${schemas}
        name=${name}
        place=${schemas.place(schema)}
        required=${required}
        value=${value?.[name]}
        onChange=${(changed) => onChange(changed === undefined ? without(value, name) : { ...value, [name]: changed })}
      />`,
  );
}

function without(value, name) {
  const { [name]: _, ...rest } = value ?? {};
  return rest;
}

function SchemaField(props) {
  const { kind, nullable } = props.place;
  if (kind === "parts") return html`<${PartField} ...${props} />`;
  if (kind === "object") return nullable ? html`<${MaybeObject} ...${props} />` : html`<${ObjectField} ...${props} />`;
  if (kind === "choice") return html`<${ChoiceField} ...${props} />`;
  if (kind === "boolean") return html`<${BooleanField} ...${props} />`;
  return html`<${TextField} ...${props} />`;
}

const labelOf = (name) => sentence(words(name));
const hintOf = ({ description }) => description?.split("\n")[0].replaceAll("``", "").replaceAll("`", "");

// One of several parts, with the parameters of the one that is chosen.
function PartField({ schemas, name, place, value, onChange }) {
  const { tag, choices, nullable } = place;
  const given = typeof value === "string" ? { [tag]: value } : value;
  const chosen = given?.[tag] ?? DEFAULT;
  const properties = chosen && choices[chosen] ? schemas.properties(choices[chosen]) : [];
  const choose = (event) => onChange(event.target.value === DEFAULT ? (nullable ? null : undefined) : { [tag]: event.target.value });
  return html`<fieldset class="part">
    <legend class="unseen">${labelOf(name)}</legend>
    <${Field} label=${labelOf(name)} hint=${hintOf(place)}>
      ${(tied) =>
        html`<select ...${tied} value=${chosen} onChange=${choose}>
          ${(nullable || !chosen) && html`<option value=${DEFAULT}>${hintOf(place)?.startsWith("default") ? "default" : "none"}</option>`}
          ${Object.keys(choices).map((choice) => html`<option value=${choice}>${words(choice)}</option>`)}
        </select>`}
    <//>
    ${properties.length > 0 &&
    html`<div class="nested">
      <${SchemaFields} key=${chosen} schemas=${schemas} properties=${properties} value=${given} onChange=${onChange} />
    </div>`}
  </fieldset>`;
}

function ObjectField({ schemas, name, place, value, onChange }) {
  return html`<fieldset class="part">
    <legend>${labelOf(name)}</legend>
    <p class="hint">${hintOf(place)}</p>
    <div class="nested"><${SchemaFields} schemas=${schemas} properties=${place.properties} value=${value} onChange=${onChange} /></div>
  </fieldset>`;
}

function MaybeObject({ schemas, name, place, value, onChange }) {
  const isThere = value !== null && value !== undefined;
  const turn = (event) => onChange(event.target.checked ? {} : null);
  return html`<fieldset class="part">
    <legend class="unseen">${labelOf(name)}</legend>
    <label class="check"><input type="checkbox" checked=${isThere} onChange=${turn} /><span>${labelOf(name)}</span></label>
    <p class="hint">${hintOf(place)}</p>
    ${isThere &&
    html`<div class="nested"><${SchemaFields} schemas=${schemas} properties=${place.properties} value=${value} onChange=${onChange} /></div>`}
  </fieldset>`;
}

function ChoiceField({ name, place, value, onChange }) {
  const shown = value ?? place.default ?? DEFAULT;
  return html`<${Field} label=${labelOf(name)} hint=${hintOf(place)}>
    ${(tied) =>
      html`<select ...${tied} value=${shown} onChange=${(event) => onChange(event.target.value)}>
        ${place.options.map((option) => html`<option value=${option}>${words(String(option))}</option>`)}
      </select>`}
  <//>`;
}

function BooleanField({ name, place, value, onChange }) {
  return html`<div class="field">
    <label class="check"
      ><input type="checkbox" checked=${value ?? place.default ?? false} onChange=${(event) => onChange(event.target.checked)} /><span
        >${labelOf(name)}</span
      ></label
    >
    <small class="hint">${hintOf(place)}</small>
  </div>`;
}

// Numbers, texts and JSON: what is written is kept as it is, and told as a value once it is one.
function TextField({ name, place, required, value, onChange }) {
  const [text, setText] = useState(() => textOf(place, value));
  const [error, setError] = useState("");

  function write(event) {
    const written = event.target.value;
    setText(written);
    const read = reading(place, written.trim());
    setError(read.error ?? "");
    if (!read.error) onChange(read.value);
  }

  const hint = [hintOf(place), place.default !== undefined && place.default !== null && typeof place.default !== "object" && `default ${place.default}`];
  return html`<${Field} label=${labelOf(name) + (required ? " *" : "")} hint=${hint.filter(Boolean).join("; ")} error=${error}>
    ${(tied) =>
      html`<input ...${tied} required=${required} inputmode=${place.kind === "number" ? "decimal" : undefined} spellcheck="false" value=${text} onInput=${write} />`}
  <//>`;
}

function textOf({ kind }, value) {
  if (value === null || value === undefined) return "";
  return kind === "json" && typeof value !== "string" ? JSON.stringify(value) : String(value);
}

function reading(place, text) {
  if (text === "") return { value: place.nullable ? null : undefined };
  if (place.kind === "text") return { value: text };
  if (place.kind === "number") return readNumber(place, text);
  try {
    return { value: JSON.parse(text) };
  } catch {
    return { value: text };
  }
}

function readNumber({ isInteger, minimum, maximum, exclusiveMinimum, exclusiveMaximum }, text) {
  const value = Number(text);
  if (!Number.isFinite(value)) return { error: `“${text}” is not a number` };
  if (isInteger && !Number.isInteger(value)) return { error: "A whole number is expected" };
  if (value < minimum) return { error: `${minimum} is the least` };
  if (value > maximum) return { error: `${maximum} is the most` };
  if (value <= exclusiveMinimum) return { error: `It must be more than ${exclusiveMinimum}` };
  if (value >= exclusiveMaximum) return { error: `It must be less than ${exclusiveMaximum}` };
  return { value };
}

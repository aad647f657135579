// Rows as a spec describes them: the fields of a form, and back again.

const SINGLE = "inputs";
const MAX_CELLS = 32; // A tensor of more numbers is one text.

export const isFields = (spec) => "fields" in spec.inputs && !("shape" in spec.inputs);
const isTensor = (spec) => Array.isArray(spec.inputs.shape);

const shapeText = (shape) => (shape.length ? `[${shape.join(" × ")}]` : "a number");

// What a row consists of: `{name, type, text}`, and of a tensor its `shape`.
export function fieldsOf(spec) {
  if (isFields(spec)) {
    return Object.entries(spec.inputs.fields)
      .map(([name, given]) => ({ name, ...(typeof given === "string" ? { type: given } : given) }))
      .filter((field) => field.type !== "ignore" && !field.dropped)
      .map((field) => ({ ...field, text: field.shape ? `tensor ${shapeText(field.shape)}` : field.type }));
  }
  const tensors = isTensor(spec) ? { [SINGLE]: spec.inputs } : spec.inputs;
  return Object.entries(tensors).flatMap(([name, { shape, dtype }]) => {
    const isShort = shape.length === 1 && shape[0] <= MAX_CELLS;
    if (!isShort) return [{ name, type: "tensor", shape, dtype, text: `${dtype} ${shapeText(shape)}` }];
    return Array.from({ length: shape[0] }, (_, index) => ({
      name: shape[0] === 1 ? name : `${isTensor(spec) ? "" : name}[${index}]`,
      ...{ type: "number", input: name, index, text: dtype },
    }));
  });
}

// A feature of a drift report as it is called in a form.
export function titleOf(spec, { input, index }) {
  if (isFields(spec) || input === "embedding") return input === "embedding" || !index.length ? input : `${input}[${index.join()}]`;
  const fields = fieldsOf(spec).filter((field) => field.input === input);
  return fields[index[0]]?.name ?? `${isTensor(spec) ? "" : input}[${index.join()}]`;
}

export class WrongText extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

// The texts of a form as a body of predict: `{"inputs": …}` with one row. A text that cannot be a value raises WrongText.
export function inputsOf(spec, texts) {
  const fields = fieldsOf(spec);
  const values = fields.map((field) => [field, valueOf(field, texts[field.name] ?? "")]);
  if (isFields(spec)) return [Object.fromEntries(values.map(([field, value]) => [field.name, value]))];
  const tensors = new Map();
  for (const [field, value] of values) {
    if (field.index === undefined) tensors.set(field.name, value);
    else if (!tensors.has(field.input)) tensors.set(field.input, [value]);
    else tensors.get(field.input).push(value);
  }
  if (isTensor(spec)) return [tensors.get(SINGLE)];
  return Object.fromEntries([...tensors].map(([name, value]) => [name, [value]]));
}

function valueOf(field, text) {
  const given = text.trim();
  if (field.type === "tensor") return tensorOf(field, given);
  if (field.index !== undefined) return numberOf(field, given || "0");
  if (given === "") return null;
  if (field.type === "number") return numberOf(field, given);
  if (field.type === "boolean") return given === "true";
  return given;
}

function numberOf(field, text) {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new WrongText(field.name, `“${text}” is not a number`);
  return value;
}

function tensorOf(field, text) {
  if (text === "") return filled(field.shape, () => 0);
  try {
    return JSON.parse(text);
  } catch {
    throw new WrongText(field.name, "This is not JSON: nested lists of numbers are expected");
  }
}

function filled([first, ...rest], value) {
  return first === undefined ? value() : Array.from({ length: first ?? 1 }, () => filled(rest, value));
}

// The texts of a form for a row as the log shows it.
export function textsOf(spec, row) {
  const text = (value) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
  return Object.fromEntries(
    fieldsOf(spec).map((field) => {
      if (field.index === undefined) return [field.name, text(isTensor(spec) ? row : row?.[field.name])];
      return [field.name, text((isTensor(spec) ? row : row?.[field.input])?.[field.index])];
    }),
  );
}


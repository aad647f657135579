// A JSON schema as a form needs it: references followed, and each place told by what may stand in it.

import { get } from "./api.js";

let asked = null;

// The description of the interface, asked for once.
export function description() {
  asked ??= get("openapi.json").catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

export class Schemas {
  constructor(openapi) {
    this.all = openapi.components.schemas;
  }

  follow(schema) {
    if (!schema.$ref) return schema;
    const { $ref, ...own } = schema;
    return { ...this.follow(this.all[$ref.split("/").at(-1)]), ...own };
  }

  // `{kind, nullable, …}`: "parts" has its `choices` by name, "object" its `properties`, and "json" is whatever else.
  place(given) {
    const schema = this.follow(given);
    const about = { description: given.description ?? schema.description, default: schema.default };
    if (schema.anyOf) return this.either(schema, about);
    if (schema.oneOf && schema.discriminator) return { ...about, kind: "parts", ...this.parts(schema) };
    if (schema.enum) return { ...about, kind: "choice", options: schema.enum };
    if (schema.type === "boolean") return { ...about, kind: "boolean" };
    if (schema.type === "integer" || schema.type === "number") return { ...about, kind: "number", ...bounds(schema) };
    if (schema.type === "string" && schema.const === undefined) return { ...about, kind: "text" };
    if (schema.properties) return { ...about, kind: "object", properties: this.properties(schema) };
    return { ...about, kind: "json" };
  }

  either(schema, about) {
    const others = schema.anyOf.filter((each) => each.type !== "null");
    const nullable = others.length < schema.anyOf.length;
    if (others.length !== 1) return { ...about, kind: "json", nullable };
    return { ...this.place(others[0]), ...about, nullable };
  }

  parts({ oneOf, discriminator: { propertyName, mapping } }) {
    const names = Object.keys(mapping ?? {});
    const choices = names.length
      ? Object.fromEntries(names.map((name) => [name, { $ref: mapping[name] }]))
      : Object.fromEntries(oneOf.map((each) => [this.follow(each).properties[propertyName].const, each]));
    return { tag: propertyName, choices };
  }

  // The properties that one may set, by name; what a part is called is set by choosing it.
  properties(given) {
    const { properties = {}, required = [] } = this.follow(given);
    return Object.entries(properties)
      .filter(([, schema]) => this.follow(schema).const === undefined)
      .map(([name, schema]) => ({ name, schema, required: required.includes(name) }));
  }

  // The one part whose choices have this name: as the edits have "widen".
  union(tag, name) {
    const seek = (value) => {
      if (!value || typeof value !== "object") return null;
      if (value.discriminator?.propertyName === tag && value.discriminator.mapping?.[name]) return value;
      for (const inner of Object.values(value)) {
        const found = seek(inner);
        if (found) return found;
      }
      return null;
    };
    return seek(this.all);
  }
}

function bounds({ type, minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  return { isInteger: type === "integer", minimum, maximum, exclusiveMinimum, exclusiveMaximum };
}

// What was changed of an object, as a body that is merged over it.
export function changes(before, after) {
  return Object.fromEntries(Object.entries(after).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
}

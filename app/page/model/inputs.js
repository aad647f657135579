// What comes in: the fields, and which of them are distributed otherwise than before.

import { isOver } from "../alarms.js";
import { clockTime, number, short } from "../format.js";
import { html } from "../html.js";
import { Ago, Badge, Bar, Card, Empty, Notice, Table } from "../ui.js";
import { fieldsOf, titleOf } from "./rows.js";

const EMBEDDING = "embedding";

export function InputsTab({ model, metrics }) {
  const fields = fieldsOf(model.spec);
  const alarm = metrics?.alarms.find((found) => found.kind === "inputs" && !isOver(found));
  const moved = new Map();
  for (const feature of alarm?.features ?? []) {
    const title = titleOf(model.spec, feature);
    if (!moved.has(title) || moved.get(title) < feature.statistic) moved.set(title, feature.statistic);
  }
  return html`
    ${alarm && html`<${Drift} alarm=${alarm} moved=${moved} spec=${model.spec} />`}
    ${!alarm && html`<${Notice} tone="good"><p>The inputs are distributed as before${model.spec.recipe.input_detector ? "" : ", as far as is known: nothing looks"}.</p><//>`}
    <div class="columns">
      <${Fields} fields=${fields} moved=${moved} />
      ${metrics?.unknown_fields && html`<${Unknown} fields=${metrics.unknown_fields} />`}
    </div>
  `;
}

function Drift({ alarm, moved }) {
  const rows = [...moved].map(([title, statistic]) => ({ title, statistic })).sort((a, b) => b.statistic - a.statistic);
  const columns = [
    { name: "title", label: "Field" },
    { name: "statistic", label: "How far its distribution has moved" },
  ];
  const cell = (row, name) =>
    name === "title" ? row.title : html`<${Bar} share=${row.statistic} tone="bad">${number(row.statistic)}<//>`;
  const since = alarm.since ? `record ${alarm.since.toLocaleString("en")}` : alarm.time && clockTime(alarm.time);
  return html`<${Card} title="Drift of the inputs" aside=${alarm.time && html`<${Ago} time=${alarm.time} />`}>
    <p>${alarm.message}</p>
    <p class="note">
      Most likely since ${since}. The distance of two distribution functions, from 0, as before, to 1, nothing as before.
      ${moved.has(EMBEDDING) && " The embedding is what the network makes of a row."}
    </p>
    <${Table} caption="Fields that have moved" columns=${columns} rows=${rows} cell=${cell} rowKey=${(row) => row.title} />
  <//>`;
}

function Fields({ fields, moved }) {
  const columns = [
    { name: "name", label: "Field" },
    { name: "kind", label: "Type" },
    { name: "drift", label: "Moved" },
  ];
  const cell = (field, name) => {
    if (name === "name") return field.name;
    if (name === "kind") return field.text;
    return moved.has(field.name) ? html`<${Badge} tone="bad">${number(moved.get(field.name))}<//>` : "–";
  };
  return html`<${Card} title="Fields" aside=${short(fields.length)}>
    ${fields.length
      ? html`<${Table} caption="Fields" columns=${columns} rows=${fields} cell=${cell} rowKey=${(field) => field.name} />`
      : html`<${Empty}>There is no field.<//>`}
  <//>`;
}

function Unknown({ fields }) {
  const rows = Object.entries(fields).map(([name, count]) => ({ name, count }));
  const columns = [
    { name: "name", label: "Field" },
    { name: "count", label: "Rows", isNumber: true },
  ];
  const cell = (row, name) => (name === "name" ? row.name : short(row.count));
  return html`<${Card} title="Fields that came and are not known">
    <p class="note">They are left out. An edit adds one: <code>add_field</code>, under Retrain.</p>
    <${Table} caption="Unknown fields" columns=${columns} rows=${rows} cell=${cell} rowKey=${(row) => row.name} />
  <//>`;
}

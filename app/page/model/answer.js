// What a model has answered to one row.

import { number, percent } from "../format.js";
import { html } from "../html.js";
import { Bar, Table } from "../ui.js";

const MOST = 20;

export function Answer({ prediction, classes, spec }) {
  const { label, labels, probabilities, value, values, interval } = prediction;
  return html`
    <p class="answer">${label !== undefined ? text(label) : labels ? labels.map(text).join(", ") || "none" : value !== undefined && number(value, 6)}</p>
    ${interval && value !== undefined && html`<p class="note">${intervalText(spec, interval)}</p>`}
    ${values && html`<${Values} values=${values} interval=${interval} spec=${spec} />`}
    ${probabilities && html`<${Probabilities} probabilities=${probabilities} classes=${classes} />`}
    ${prediction.id && html`<p class="sub">Prediction <code class="long">${prediction.id}</code></p>`}
  `;
}

const text = (name) => (name === null ? "no class yet" : String(name));

function intervalText(spec, ends) {
  return spec.intervals.map((level, index) => `${percent(level, 0)} of labels are below ${number(ends[index])}`).join(", ");
}

function Probabilities({ probabilities, classes }) {
  const rows = probabilities
    .map((share, index) => ({ name: String(classes[index]), share }))
    .sort((a, b) => b.share - a.share)
    .slice(0, MOST);
  const columns = [
    { name: "name", label: "Class" },
    { name: "share", label: "Probability" },
  ];
  const cell = (row, name) => (name === "name" ? row.name : html`<${Bar} share=${row.share}>${percent(row.share)}<//>`);
  return html`<${Table} caption="Probabilities" columns=${columns} rows=${rows} cell=${cell} />`;
}

function Values({ values, interval, spec }) {
  const rows = Object.entries(values).map(([name, value], index) => ({ name, value, ends: interval?.[name] ?? interval?.[index] }));
  const columns = [
    { name: "name", label: "Output" },
    { name: "value", label: "Value", isNumber: true },
    ...(spec.intervals ? [{ name: "ends", label: "Interval", isNumber: true }] : []),
  ];
  const cell = (row, name) => (name === "ends" ? (row.ends?.map((end) => number(end)).join(" – ") ?? "–") : name === "value" ? number(row.value, 6) : row.name);
  return html`<${Table} caption="Values" columns=${columns} rows=${rows} cell=${cell} />`;
}

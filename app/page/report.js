// What a job has found: scores before and after, the race, the edits.

import { number, short, words } from "./format.js";
import { html } from "./html.js";
import { isBetterLow, scoreName, scoresIn, shown } from "./score.js";
import { Badge, Notice, Table } from "./ui.js";

const OUTCOMES = { running: "accent", won: "good", lost: "neutral", failed: "bad" };
const SIZES = ["parameters", "trained", "bytes", "flops"];
const SETS = { holdout: "held out", latest: "newest labels" };

export function Report({ report }) {
  if (!report) return null;
  const [first, second] = report.versions ?? [report.before, report.after];
  const names = report.versions ? report.versions.map(({ version }) => `Version ${version}`) : ["Before", "After"];
  return html`
    ${report.reason && html`<p>${report.reason}</p>`}
    ${first && second && html`<${Sides} first=${first} second=${second} names=${names} differences=${report.differences} />`}
    ${report.race?.length > 0 && html`<${Race} race=${report.race} />`}
  `;
}

function Sides({ first, second, names, differences }) {
  const rows = [
    ...Object.entries(SETS).flatMap(([set, text]) =>
      scoresIn(second[set] ?? {}).map((name) => ({ key: `${set}.${name}`, set, name, text: `${scoreName(name)}, ${text}` })),
    ),
    ...SIZES.filter((name) => Number.isFinite(second[name])).map((name) => ({ key: name, name, text: words(name) })),
  ];
  const of = (side, { set, name }) => (set ? side[set]?.[name] : side[name]);
  const text = (row, value) => (row.set ? shown(row.name, value) : short(value));
  const columns = [
    { name: "text", label: "What" },
    { name: "first", label: names[0], isNumber: true },
    { name: "second", label: names[1], isNumber: true },
    { name: "difference", label: "Difference", isNumber: true },
  ];
  const cell = (row, name) => {
    if (name === "text") return row.text;
    const [before, after] = [of(first, row), of(second, row)];
    if (name !== "difference") return text(row, name === "first" ? before : after);
    return html`<${Difference} row=${row} by=${after - before} found=${differences?.[row.set]?.[row.name]} text=${text} />`;
  };
  return html`<${Table} caption="Before and after" columns=${columns} rows=${rows} cell=${cell} rowKey=${(row) => row.key} />`;
}

function Difference({ row, by, found, text }) {
  if (!Number.isFinite(by)) return "–";
  if (by === 0) return "0";
  const isBetter = row.set && by < 0 === isBetterLow(row.name);
  const tone = row.set && row.name !== "bias" ? (isBetter ? "good" : "bad") : "";
  return html`<span class=${`delta ${tone}`}>${by > 0 ? "+" : "−"}${text(row, Math.abs(by))}</span>${found?.beyond_chance &&
  html` <${Badge} title="Larger than two standard errors">beyond chance<//>`}`;
}

const settled = (value) => (value && Object.keys(value).length ? JSON.stringify(value) : "as it is");

export function Race({ race }) {
  const scores = scoresIn(race.find((entry) => scoresIn(entry).length) ?? {});
  const columns = [
    { name: "outcome", label: "Outcome" },
    { name: "recipe", label: "Recipe" },
    { name: "edits", label: "Edits" },
    { name: "updates", label: "Updates", isNumber: true },
    ...scores.map((name) => ({ name, label: scoreName(name), isNumber: true })),
  ];
  const cell = (entry, name) => {
    if (name === "outcome") return html`<${Badge} tone=${OUTCOMES[entry.outcome]} title=${entry.reason}>${entry.outcome}<//>`;
    if (name === "recipe") return html`<code>${settled(entry.recipe)}</code>`;
    if (name === "edits") return entry.edits?.length ? html`<code>${JSON.stringify(entry.edits)}</code>` : "–";
    return name === "updates" ? short(entry.updates) : shown(name, entry[name]);
  };
  return html`<h3>Race</h3>
    <${Table} caption="Race" columns=${columns} rows=${race} cell=${cell} rowClass=${(entry) => (entry.outcome === "won" ? "won" : "")} />`;
}

// What a retrain would give and cost.
export function Preview({ preview: { before, after, keeps_function: keeps, training } }) {
  const rows = SIZES.map((name) => ({ name, first: before[name], second: after[name] }));
  const columns = [
    { name: "name", label: "What" },
    { name: "first", label: "Now", isNumber: true },
    { name: "second", label: "Then", isNumber: true },
  ];
  return html`<${Notice}>
    <p>
      <strong>${short(training.updates)} updates</strong> over ${short(training.examples)} examples,
      ${number(training.flops / 1e9)} GFLOP. ${keeps ? "It answers as before until it is trained." : "It does not answer as before."}
    </p>
    <${Table} caption="Size before and after" columns=${columns} rows=${rows} cell=${(row, name) => (name === "name" ? words(row.name) : short(row[name]))} />
  <//>`;
}


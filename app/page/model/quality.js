// Where a model is good and where not: by class, by source, by output, and how sure it may be.

import { number, percent, short } from "../format.js";
import { html } from "../html.js";
import { scoreName, scoresIn, shown } from "../score.js";
import { Bar, Card, Empty, Table } from "../ui.js";
import { Calibration } from "./calibration.js";
import { Confusion } from "./confusion.js";
import { namesIn, useHistory } from "./history.js";

export function QualityTab({ model, metrics }) {
  const found = metrics?.prequential;
  if (!found) return html`<${Empty}>No label has come yet: nothing has been scored.<//>`;
  const { window, fading } = found;
  return html`
    <${AllScores} all=${found} window=${window} fading=${fading} />
    <div class="columns">
      ${window.classes?.length > 0 && html`<${Classes} classes=${window.classes} count=${window.count} />`}
      ${window.outputs && html`<${Outputs} outputs=${window.outputs} />`}
      ${window.confusion && html`<${Confusion} confusion=${window.confusion} />`}
      ${window.calibration && html`<${Calibration} bins=${window.calibration} />`}
      <${Sources} model=${model} />
    </div>
  `;
}

function AllScores({ all, window, fading }) {
  const columns = [
    { name: "name", label: "Score" },
    { name: "window", label: `Newest ${short(window.count)}`, isNumber: true },
    { name: "fading", label: "Fading", isNumber: true },
    { name: "all", label: `All ${short(all.count)}`, isNumber: true },
  ];
  const of = { window, fading, all };
  const cell = (name, column) => (column === "name" ? scoreName(name) : shown(name, of[column][name]));
  return html`<${Card} title="Scores of what was served">
    <p class="note">Each label scores the answer that was served, before it is learned. Older labels fade by ${fading.factor} a label.</p>
    <${Table} caption="Scores of what was served" columns=${columns} rows=${scoresIn(all)} cell=${cell} />
  <//>`;
}

function Classes({ classes, count }) {
  const columns = [
    { name: "class", label: "Class" },
    { name: "support", label: "Labels", isNumber: true },
    { name: "recall", label: "Recall" },
    { name: "precision", label: "Precision" },
  ];
  const cell = (row, name) => {
    if (name === "class") return String(row.class);
    if (name === "support") return `${short(row.support)} (${percent(row.support / count, 0)})`;
    return html`<${Bar} share=${row[name]}>${percent(row[name])}<//>`;
  };
  return html`<${Card} title="By class">
    <${Table} caption="Recall and precision by class" columns=${columns} rows=${classes} cell=${cell} rowKey=${(row) => typeof row.class + row.class} />
  <//>`;
}

function Outputs({ outputs }) {
  const rows = Object.entries(outputs).map(([name, scores]) => ({ name, scores }));
  const names = scoresIn(rows[0]?.scores);
  const columns = [{ name: "name", label: "Output" }, ...names.map((name) => ({ name, label: scoreName(name), isNumber: true }))];
  const cell = (row, name) => (name === "name" ? row.name : shown(name, row.scores[name]));
  return html`<${Card} title="By output"><${Table} caption="Scores by output" columns=${columns} rows=${rows} cell=${cell} /><//>`;
}

function Sources({ model }) {
  const { buckets } = useHistory(model, "1d");
  const names = buckets ? namesIn(buckets, "sources", 20) : [];
  if (!names.length) return null;
  const rows = names.map(([name, count]) => ({ name, count, ...meanOf(buckets, name) }));
  const columns = [
    { name: "name", label: "Source" },
    { name: "count", label: "Labels", isNumber: true },
    { name: "value", label: scoreName(rows[0].score) },
  ];
  const cell = (row, name) => {
    if (name === "count") return short(row.count);
    if (name === "name") return row.name;
    return row.score === "accuracy" ? html`<${Bar} share=${row.value}>${percent(row.value)}<//>` : number(row.value);
  };
  return html`<${Card} title="By source, last day">
    <${Table} caption="Scores by source, last day" columns=${columns} rows=${rows} cell=${cell} rowKey=${(row) => row.name} />
  <//>`;
}

function meanOf(buckets, name) {
  let sum = 0;
  let count = 0;
  let score = "accuracy";
  for (const found of buckets.map((bucket) => bucket.sources?.[name]).filter(Boolean)) {
    score = "mae" in found ? "mae" : "accuracy";
    sum += found.count * found[score];
    count += found.count;
  }
  return { score, value: sum / count };
}

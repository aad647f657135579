// The chart of a model's scores: of all labels, or by class or source.

import { TimeChart } from "../chart.js";
import { clockTime, short } from "../format.js";
import { html, useMemo, useState } from "../html.js";
import { scoreName, shown } from "../score.js";
import { Card, Empty, Problem, Table } from "../ui.js";
import { columns, measuresIn, namesIn, SPANS, useHistory } from "./history.js";

const ROWS = 200;
const BY = {
  all: { label: "All labels" },
  classes: { label: "By class", measure: () => "recall" },
  sources: { label: "By source", measure: (found) => ("accuracy" in found ? "accuracy" : "mae") },
};
const LEGEND = [
  ["accent", "version"],
  ["bad", "alarm"],
  ["good", "over, promoted, resumed"],
  ["warn", "rollback, pause"],
  ["violet", "job, recipe"],
  ["neutral", "created"],
];

export function ScoreChart({ model }) {
  const [span, setSpan] = useState("1h");
  const [by, setBy] = useState("all");
  const [wanted, setWanted] = useState(null);
  const history = useHistory(model, span);
  const buckets = history.buckets ?? [];
  const measures = measuresIn(buckets);
  const measure = measures.includes(wanted) ? wanted : measures[0];
  const lines = useMemo(() => linesOf(buckets, history.step, by, measure), [history.buckets, history.step, by, measure]);
  const splits = Object.keys(BY).filter((name) => name === "all" || namesIn(buckets, name, 1).length > 0);

  const aside = html`
    ${splits.length > 1 && html`<${Choice} label="Split" value=${by} onPick=${setBy} options=${splits.map((id) => [id, BY[id].label])} />`}
    ${by === "all" &&
    measures.length > 1 &&
    html`<${Choice} label="Score" value=${measure} onPick=${setWanted} options=${measures.map((id) => [id, scoreName(id)])} />`}
    <${Choice} label="Span" value=${span} onPick=${setSpan} options=${Object.entries(SPANS).map(([id, each]) => [id, each.label])} />
  `;
  return html`<${Card} title="Scores over time" aside=${aside}>
    ${history.error && html`<${Problem} error=${history.error} />`}
    ${lines
      ? html`<${TimeChart} label=${`${scoreName(lines.measure)} of the last ${SPANS[span].label}`} ...${lines} marks=${history.marks} span=${history.span} />
          <${Legend} marks=${history.marks} />
          <${AsTable} lines=${lines} buckets=${buckets} />`
      : html`<${Empty}>${history.buckets ? `No label was scored in the last ${SPANS[span].label}.` : "Loading"}<//>`}
  <//>`;
}

function linesOf(buckets, step, by, measure) {
  if (!buckets.length) return null;
  const names = by === "all" ? [] : namesIn(buckets, by).map(([name]) => name);
  const split = names.length ? BY[by].measure(buckets.find((bucket) => bucket[by]?.[names[0]])[by][names[0]]) : measure;
  if (!split) return null;
  const of = names.length ? names.map((name) => (bucket) => bucket[by]?.[name]?.[split]) : [(bucket) => bucket[split]];
  const { times, values } = columns(buckets, step, of);
  const format = (value) => shown(split, value);
  const series = values.map((column, index) => ({ name: names[index] ?? scoreName(split), values: column, format }));
  return { times, series, measure: split, isShare: split !== "mae" && split !== "rmse" && split !== "log_loss" };
}

function Choice({ label, value, options, onPick }) {
  return html`<label class="choice"
    ><span class="unseen">${label}</span>
    <select value=${value} onChange=${(event) => onPick(event.target.value)}>
      ${options.map(([id, text]) => html`<option value=${id}>${text}</option>`)}
    </select></label
  >`;
}

function Legend({ marks }) {
  const there = new Set(marks.map(({ tone }) => tone));
  const shownMarks = LEGEND.filter(([tone]) => there.has(tone));
  if (!shownMarks.length) return null;
  return html`<p class="chart-legend marks">
    ${shownMarks.map(([tone, text]) => html`<span><i class="mark" style=${{ background: `var(--mark-${tone})` }}></i>${text}</span>`)}
  </p>`;
}

function AsTable({ lines, buckets }) {
  const [open, setOpen] = useState(false);
  const counts = new Map(buckets.map((bucket) => [bucket.time, bucket.count]));
  const rows = open
    ? lines.times
        .map((time, index) => ({ time, values: lines.series.map(({ values }) => values[index]) }))
        .filter(({ time }) => counts.has(time))
        .reverse()
        .slice(0, ROWS)
    : [];
  const cols = [
    { name: "time", label: "From" },
    { name: "count", label: "Labels", isNumber: true },
    ...lines.series.map(({ name }, index) => ({ name: index, label: name, isNumber: true })),
  ];
  const cell = ({ time, values }, name) => {
    if (name === "time") return clockTime(time);
    if (name === "count") return short(counts.get(time));
    return values[name] === null ? "–" : lines.series[name].format(values[name] ?? NaN);
  };
  return html`<details class="as-table" onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>As a table</summary>
    ${open && html`<${Table} caption="Scores over time" columns=${cols} rows=${rows} cell=${cell} />`}
  </details>`;
}


// The processes that learn, and the models that nobody learns.

import { number, percent, plural, span } from "./format.js";
import { html } from "./html.js";
import { href } from "./route.js";
import { Ago, Badge, Bar, Card, Empty, Heading, Notice, Problem, Table } from "./ui.js";

const TONES = { working: "good", stuck: "bad", silent: "warn" };

const COLUMNS = [
  { name: "id", label: "Worker" },
  { name: "state", label: "State" },
  { name: "load", label: "Load" },
  { name: "heard", label: "Last heard", isNumber: true },
  { name: "started", label: "Started" },
  { name: "restarts", label: "Restarts", isNumber: true },
  { name: "models", label: "Models" },
];

export function WorkersView({ found: { data, error } }) {
  const workers = data?.workers ?? [];
  const unowned = data?.unowned ?? [];
  return html`
    <div class="view-head"><${Heading} title="Workers">Workers<//></div>
    <${Problem} error=${error} />
    ${unowned.length > 0 &&
    html`<${Notice} tone="warn" role="status"><p>
      <strong>${plural(unowned.length, "model")} without a worker:</strong> labels wait. ${unowned.map(link)}
    </p><//>`}
    <${Card} title=${plural(workers.length, "worker")}>
      ${workers.length
        ? html`<${Table} caption="Workers" columns=${COLUMNS} rows=${workers} cell=${cell} rowKey=${(worker) => worker.id} />`
        : html`<${Empty}>No worker runs: labels are taken, and wait.<//>`}
    <//>
  `;
}

function cell(worker, name) {
  if (name === "id") return html`<strong>${worker.id}</strong><span class="sub">${worker.host}${worker.pid && `, process ${worker.pid}`}</span>`;
  if (name === "state") {
    return html`<${Badge} tone=${TONES[worker.state]}>${worker.state}<//>
      ${worker.computing && html`<span class="sub">${worker.computing.model}, ${span(worker.computing.seconds)}</span>`}`;
  }
  if (name === "load") return html`<${Bar} share=${worker.load}>${percent(worker.load, 0)}<//>`;
  if (name === "heard") return `${span(worker.silent_seconds)} ago`;
  if (name === "started") return html`<${Ago} time=${worker.started} />`;
  if (name === "restarts") return number(worker.restarts);
  return worker.models.length ? worker.models.map(link) : "–";
}

const link = (name) => html`<a class="chip" href=${href("models", name)}>${name}</a>`;

// The versions of a model: what each has learned, why it was let in, and the way back to it.

import { useAction } from "../action.js";
import { path } from "../api.js";
import * as commands from "../commands.js";
import { sentence } from "../format.js";
import { html, useState } from "../html.js";
import { Job } from "../job.js";
import { useLive } from "../live.js";
import { Report } from "../report.js";
import { comparisons } from "../score.js";
import { Ago, Badge, Button, Card, Dialog, Empty, Problem, Table } from "../ui.js";
import { Confirm } from "./controls.js";

const AT_ONCE = 25;

export function VersionsTab({ model, refresh }) {
  const { data, error, refresh: reload } = useLive(path("models", model.name, "versions"), { every: 10, model: model.name });
  const [most, setMost] = useState(AT_ONCE);
  const [target, setTarget] = useState(null);
  const [opened, setOpened] = useState(null);
  const [pair, setPair] = useState([]);
  if (!data) return error ? html`<${Problem} error=${error} />` : html`<${Empty}>Loading<//>`;

  const versions = [...data.versions].reverse();
  const chosen = pair.filter((version) => versions.some((found) => found.version === version));
  const toggle = (version) =>
    setPair(chosen.includes(version) ? chosen.filter((each) => each !== version) : [...chosen, version].slice(-2));
  const offsets = new Map(data.versions.map(({ version, offset }) => [version, offset]));
  const cell = (version, name) => cells(version, name, { live: data.live, offsets, chosen, toggle, setTarget, setOpened });

  return html`
    <${Compare} model=${model} pair=${chosen} />
    <${Card} title="Versions" aside=${`${versions.length} kept`}>
      <${Table}
        caption="Versions, the newest first"
        columns=${COLUMNS}
        rows=${versions.slice(0, most)}
        cell=${cell}
        rowKey=${(version) => version.version}
        rowClass=${(version) => (version.version === data.live ? "live" : "")}
      />
      ${versions.length > most && html`<button type="button" onClick=${() => setMost(most + AT_ONCE)}>Show older ones</button>`}
    <//>
    ${target !== null && html`<${RollBack} model=${model} version=${target} onClose=${() => setTarget(null)} onDone=${() => (refresh(), reload())} />`}
    ${opened !== null && html`<${Opened} model=${model} version=${opened} onClose=${() => setOpened(null)} />`}
  `;
}

const COLUMNS = [
  { name: "pick", label: "Compare" },
  { name: "version", label: "Version" },
  { name: "created", label: "Published" },
  { name: "records", label: "Records" },
  { name: "reason", label: "Why it was let in" },
  { name: "scores", label: "What the gate saw" },
  { name: "actions", label: "" },
];

function cells(version, name, { live, offsets, chosen, toggle, setTarget, setOpened }) {
  const { version: number_, parent } = version;
  if (name === "pick") {
    const label = `Compare version ${number_}`;
    return html`<input type="checkbox" aria-label=${label} checked=${chosen.includes(number_)} onChange=${() => toggle(number_)} />`;
  }
  if (name === "version") {
    return html`<strong>${number_}</strong> ${number_ === live && html`<${Badge} tone="good">live<//>`}
      ${parent !== null && html`<span class="sub">of ${parent}</span>`}`;
  }
  if (name === "created") return html`<${Ago} time=${version.created} />`;
  if (name === "records") return recordsOf(version, offsets);
  if (name === "reason") return html`<span class="reason">${version.reason}</span>`;
  if (name === "scores") return html`<${Scores} scores=${version.scores} />`;
  return html`<div class="buttons tight">
    <button type="button" onClick=${() => setOpened(number_)} aria-label=${`Details of version ${number_}`}>Details</button>
    ${number_ !== live && html`<button type="button" onClick=${() => setTarget(number_)} aria-label=${`Roll back to version ${number_}`}>Roll back</button>`}
  </div>`;
}

function recordsOf({ parent, offset }, offsets) {
  const before = offsets.get(parent);
  if (before === undefined || before > offset) return `to ${offset.toLocaleString("en")}`;
  return before === offset ? "none new" : `${(before + 1).toLocaleString("en")} to ${offset.toLocaleString("en")}`;
}

function Scores({ scores }) {
  const lines = comparisons(scores ?? {});
  if (!lines.length) return "–";
  return html`<dl class="small-facts">${lines.map(([name, text]) => html`<div><dt>${sentence(name)}</dt><dd>${text}</dd></div>`)}</dl>`;
}

function RollBack({ model, version, onClose, onDone }) {
  return html`<${Confirm}
    title=${`Roll back to version ${version}`}
    text=${`Publishes the weights of version ${version} as the next version; learning goes on from them. Labels that were learned since are not learned again.`}
    perform=${(id, body) => commands.rollBack(model.name, id, body)}
    body=${{ version }}
    done=${`The model is being rolled back to version ${version}.`}
    danger=${true}
    onClose=${onClose}
    onDone=${onDone}
  />`;
}

function Opened({ model, version, onClose }) {
  const { data, error } = useLive(path("models", model.name, "versions", version), { every: 60 });
  return html`<${Dialog} title=${`Version ${version}`} onClose=${onClose}>
    ${!data && !error && html`<${Empty}>Loading<//>`}
    <${Problem} error=${error} />
    ${data && html`<${Details} version=${data} />`}
    <div class="buttons"><button type="button" class="main" onClick=${onClose}>Close</button></div>
  <//>`;
}

function Details({ version }) {
  const { report } = version;
  return html`
    <dl class="facts">
      <div><dt>Published</dt><dd><${Ago} time=${version.created} /></dd></div>
      <div><dt>Parent</dt><dd>${version.parent ?? "none"}</dd></div>
      <div><dt>Step</dt><dd>${version.step.toLocaleString("en")}</dd></div>
      <div><dt>Learned up to record</dt><dd>${version.offset.toLocaleString("en")}</dd></div>
    </dl>
    <p>${version.reason}</p>
    <${Scores} scores=${version.scores} />
    ${report ? html`<h3>The retrain that it came of</h3><${Report} report=${report} />` : html`<p class="note">It came of labels alone: no job made it.</p>`}
  `;
}

function Compare({ model, pair }) {
  const [job, setJob] = useState(null);
  const { busy, error, run } = useAction((id, body) => commands.compare(model.name, id, body));
  if (pair.length < 2 && !job) return null;
  const versions = [...pair].sort((a, b) => a - b);

  async function go() {
    const begun = await run({ versions });
    if (begun) setJob(begun.job_id);
  }

  return html`<${Card} title="Two versions side by side">
    ${versions.length === 2
      ? html`<div class="buttons"><${Button} kind="main" busy=${busy} onClick=${go}>Compare ${versions[0]} and ${versions[1]}<//></div>`
      : html`<p class="note">Choose two versions.</p>`}
    <${Problem} error=${error} again=${true} />
    ${job && html`<${Job} key=${job} id=${job} model=${model.name} />`}
  <//>`;
}


// All models at a glance.

import { standing } from "./alarms.js";
import { useDetails } from "./details.js";
import { plural, short, words } from "./format.js";
import { Component, html, useEffect, useMemo, useRef } from "./html.js";
import { useLive } from "./live.js";
import { href } from "./route.js";
import { isBetterLow, mainScore, scoreName, shown } from "./score.js";
import { Sparkline } from "./sparkline.js";
import { Badge, Empty, Field, Heading, Problem, useFilter } from "./ui.js";

const STATES = { learning: "accent", paused: "warn", idle: "neutral" };

const ORDERS = {
  name: { label: "Name", of: ({ model }) => model.name },
  alarms: { label: "Alarms first", of: ({ alarms }) => -alarms.length },
  score: { label: "Worst score first", of: worst },
  waiting: { label: "Most labels waiting", of: ({ model }) => -model.waiting },
  learned: { label: "Most labels learned", of: ({ model }) => -model.learned },
};

function worst({ score, value }) {
  if (!Number.isFinite(value)) return Infinity;
  return isBetterLow(score) ? -value : value;
}

export function Overview() {
  const { data, error } = useLive("v1/models", { every: 3, model: null });
  const models = data?.models;
  const [details, sight] = useDetails(models);
  const [text, onText] = useFilter();
  const [order, onOrder] = useFilter("alarms");
  const rows = useMemo(() => chosen(models ?? [], details, text, order), [models, details, text, order]);

  if (!models) return html`<${Heading} title="Models">Models<//>${error ? html`<${Problem} error=${error} />` : html`<${Waiting} />`}`;
  return html`
    <div class="view-head">
      <${Heading} title="Models">Models<//>
      <${Summary} models=${models} details=${details} />
    </div>
    ${error && html`<${Problem} error=${error} />`}
    ${models.length === 0
      ? html`<${First} />`
      : html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
            <${Field} label="Find">
              ${(tied) => html`<input ...${tied} type="search" placeholder="Name, task or state" value=${text} onInput=${onText} />`}
            <//>
            <${Field} label="Order">
              ${(tied) =>
                html`<select ...${tied} value=${order} onChange=${onOrder}>
                  ${Object.entries(ORDERS).map(([name, { label }]) => html`<option value=${name}>${label}</option>`)}
                </select>`}
            <//>
          </form>
          <${List} rows=${rows} sight=${sight} />`}
  `;
}

const Waiting = () => html`<p class="empty" aria-busy="true">Loading</p>`;

function chosen(models, details, text, order) {
  const wanted = text.trim().toLowerCase();
  const { of } = ORDERS[order];
  return models
    .filter(({ name, state, spec }) => `${name} ${spec.task} ${state}`.toLowerCase().includes(wanted))
    .map((model) => rowOf(model, details.get(model.name)))
    .sort((a, b) => compare(of(a), of(b)) || compare(a.model.name, b.model.name));
}

function rowOf(model, found) {
  const score = mainScore(model.spec);
  const value = found?.metrics?.prequential?.window?.[score];
  return { model, score, value, points: found?.points, alarms: standing(found?.metrics) };
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

function Summary({ models, details }) {
  const alarmed = models.filter((model) => standing(details.get(model.name)?.metrics).length).length;
  const count = (state) => models.filter((model) => model.state === state).length;
  const parts = [plural(models.length, "model")];
  if (count("learning")) parts.push(`${count("learning")} learning`);
  if (count("paused")) parts.push(`${count("paused")} paused`);
  parts.push(alarmed ? `${alarmed} with standing alarms` : "no standing alarms");
  return html`<p class="summary" role="status">${parts.join(" · ")}</p>`;
}

const First = () =>
  html`<${Empty}>
    There is no model yet. <code>driftline models create --from history.csv --target sold --name churn</code> makes one from a
    table; <code>driftline demo</code> shows one that learns.
  <//>`;

function List({ rows, sight }) {
  if (!rows.length) return html`<${Empty}>No model is like that.<//>`;
  return html`<table class="models">
    <caption class="unseen">
      Models
    </caption>
    <thead>
      <tr>
        <th scope="col">Model</th>
        <th scope="col">Last six hours</th>
        <th scope="col" class="number">Score</th>
        <th scope="col" class="number">Version</th>
        <th scope="col" class="number">Learned</th>
        <th scope="col" class="number">Waiting</th>
        <th scope="col">State</th>
      </tr>
    </thead>
    <tbody>
      ${rows.map((row) => html`<${Row} key=${row.model.name} row=${row} sight=${sight} />`)}
    </tbody>
  </table>`;
}

class Row extends Component {
  constructor(props) {
    super(props);
    this.drawn = "";
  }

  // Most rows are as they were when one of 200 has changed.
  shouldComponentUpdate({ row }) {
    return sign(row) !== sign(this.props.row) || row.points !== this.props.row.points;
  }

  render({ row, sight }) {
    return html`<${RowCells} ...${row} sight=${sight} />`;
  }
}

const sign = ({ model, value, alarms }) =>
  [model.version, model.learned, model.waiting, model.state, model.swap_failure, value, ...alarms.map((a) => a.kind)].join();

function RowCells({ model, score, value, points, alarms, sight }) {
  const line = useRef();
  useEffect(() => watch(line.current, (isSeen) => sight(model.name, isSeen)), []);
  return html`<tr ref=${line}>
    <th scope="row">
      <a href=${href("models", model.name)}>${model.name}</a>
      <span class="sub">${words(model.spec.task)}</span>
    </th>
    <td class="graph"><${Sparkline} points=${points} score=${score} label="${model.name}, ${scoreName(score)}" /></td>
    <td class="number score">${shown(score, value)}<span class="sub">${scoreName(score)}</span></td>
    <td class="number" data-label="Version">${model.version}</td>
    <td class="number" data-label="Learned">${short(model.learned)}</td>
    <td class="number" data-label="Waiting">${short(model.waiting)}</td>
    <td class="states">
      <${Badge} tone=${STATES[model.state]}>${model.state}<//>
      ${model.swap_failure && html`<${Badge} tone="bad" title=${model.swap_failure}>not served<//>`}
      ${alarms.map((alarm) => html`<${Badge} tone="bad" title=${alarm.message}>${words(alarm.kind)}<//>`)}
    </td>
  </tr>`;
}

const watched = new WeakMap();
const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) watched.get(target)?.(isIntersecting);
  },
  { rootMargin: "200px" },
);

function watch(element, onSight) {
  watched.set(element, onSight);
  observer.observe(element);
  return () => {
    observer.unobserve(element);
    onSight(false);
  };
}

// One model: what it is, how it does, and what one can do about it.

import { standing } from "../alarms.js";
import { path } from "../api.js";
import { onEvents } from "../events.js";
import { short, words } from "../format.js";
import { html, useEffect, useState } from "../html.js";
import { useLive } from "../live.js";
import { href } from "../route.js";
import { Ago, Badge, Heading, Notice, Problem } from "../ui.js";
import { Controls } from "./controls.js";
import { InputsTab } from "./inputs.js";
import { LabelsTab } from "./labels.js";
import { ModelEvents } from "./model_events.js";
import { QualityTab } from "./quality.js";
import { RetrainTab } from "./retrain.js";
import { ScoresTab } from "./scores.js";
import { SourcesTab } from "./sources.js";
import { TryTab } from "./try.js";
import { VersionsTab } from "./versions.js";

const TABS = {
  scores: { label: "Overview", view: ScoresTab },
  quality: { label: "Quality", view: QualityTab },
  inputs: { label: "Inputs", view: InputsTab },
  versions: { label: "Versions", view: VersionsTab },
  retrain: { label: "Retrain", view: RetrainTab },
  try: { label: "Try it", view: TryTab },
  labels: { label: "Labels", view: LabelsTab },
  sources: { label: "Sources", view: SourcesTab },
  events: { label: "Events", view: ModelEvents },
};
const STATES = { learning: "accent", paused: "warn", idle: "neutral" };

export function ModelView({ model: name, tab = "scores", asked }) {
  const model = useLive(path("models", name), { every: 3, model: name });
  const metrics = useLive(path("models", name, "metrics"), { every: 5, model: name });
  const deleted = useDeleted(name);

  if (deleted || model.error?.status === 404) return html`<${Gone} name=${name} event=${deleted} was=${model.data} />`;
  if (!model.data) return html`<${Heading} title=${name}>${name}<//><${Problem} error=${model.error} />`;
  const { view } = TABS[tab] ?? TABS.scores;
  const refresh = () => [model, metrics].forEach((found) => found.refresh());
  return html`
    <nav class="crumbs" aria-label="Breadcrumb"><a href=${href("models")}>Models</a></nav>
    <${Head} model=${model.data} metrics=${metrics.data} refresh=${refresh} />
    ${model.error && html`<${Stale} error=${model.error} at=${model.at} />`}
    <nav class="tabs" aria-label="About ${name}">
      <ul>
        ${Object.entries(TABS).map(
          ([id, { label }]) =>
            html`<li>
              <a href=${id === "scores" ? href("models", name) : href("models", name, id)} aria-current=${id === tab ? "page" : undefined}
                >${label}</a
              >
            </li>`,
        )}
      </ul>
    </nav>
    <${view} model=${model.data} metrics=${metrics.data} refresh=${refresh} asked=${asked} />
  `;
}

function useDeleted(name) {
  const [event, setEvent] = useState(null);
  useEffect(
    () =>
      onEvents((events) => {
        const own = events.filter((found) => found.model === name && ["deleted", "created"].includes(found.kind));
        if (own.length) setEvent(own.at(-1).kind === "deleted" ? own.at(-1) : null);
      }),
    [name],
  );
  return event;
}

function Gone({ name, event, was }) {
  return html`<${Heading} title=${name}>${name}<//>
    <${Notice} tone="warn" role="alert">
      <p>
        <strong>${was || event ? "This model has been deleted" : "There is no model of this name"}.</strong>
        ${event && html` By ${event.actor}, <${Ago} time=${event.time} />.`}
        ${was && ` It was at version ${was.version} and had learned ${short(was.learned)} labels.`}
      </p>
    <//>
    <p><a href=${href("models")}>To the models</a></p>`;
}

const Stale = ({ error, at }) =>
  html`<${Notice} tone="warn" role="status"><p>${error.message} What is shown is from <${Ago} time=${at} />.</p><//>`;

function Head({ model, metrics, refresh }) {
  const alarms = standing(metrics);
  return html`<div class="view-head">
    <div>
      <${Heading} title=${model.name}>${model.name}<//>
      <p class="badges">
        <${Badge} tone=${STATES[model.state]}>${model.state}<//>
        <${Badge}>${words(model.spec.task)}<//>
        ${alarms.length > 0 && html`<${Badge} tone="bad">${alarms.length === 1 ? "1 alarm" : `${alarms.length} alarms`}<//>`}
      </p>
      <dl class="facts">
        <div><dt>Version</dt><dd>${model.version}</dd></div>
        <div><dt>Learned</dt><dd>${model.learned.toLocaleString("en")}</dd></div>
        <div><dt>Waiting</dt><dd>${model.waiting.toLocaleString("en")}</dd></div>
        <div><dt>Created</dt><dd><${Ago} time=${model.created} /></dd></div>
      </dl>
    </div>
    <${Controls} model=${model} refresh=${refresh} />
  </div>`;
}


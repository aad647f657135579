// Events as a list, the newest first, with what each was about.

import { kindName, toneOf } from "./event_kinds.js";
import { html } from "./html.js";
import { href } from "./route.js";
import { comparisons } from "./score.js";
import { Ago, Badge, Empty } from "./ui.js";

const OWN = new Set(["worker", "system", "local", ""]);

export function EventList({ events, withModel }) {
  if (!events.length) return html`<${Empty}>Nothing has happened.<//>`;
  return html`<ol class="events">
    ${events.map((event) => html`<${EventItem} key=${event.model + event.id} event=${event} withModel=${withModel} />`)}
  </ol>`;
}

function EventItem({ event, withModel }) {
  const scores = comparisons(event.scores ?? {});
  return html`<li class="event">
    <span class="event-time"><${Ago} time=${event.time} /></span>
    <span class="event-kind"><${Badge} tone=${toneOf(event)}>${kindName(event.kind)}<//></span>
    <div class="event-text">
      <p>
        ${withModel && event.model && html`<a href=${href("models", event.model)}>${event.model}</a> `}
        ${event.message || event.reason}
      </p>
      ${event.message && event.reason && !event.message.includes(event.reason) && html`<p class="sub">${event.reason}</p>`}
      <p class="sub">
        ${OWN.has(event.actor) ? "" : `by ${event.actor}`}
        ${event.job && html` <a href=${href("models", event.model, "retrain") + `?job=${encodeURIComponent(event.job)}`}>job</a>`}
        ${scores.length > 0 && html` <span>${scores.map((pair) => pair.join(": ")).join("; ")}</span>`}
      </p>
    </div>
  </li>`;
}

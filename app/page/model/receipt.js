// How far a label has come, followed until it is served.

import { path } from "../api.js";
import { words } from "../format.js";
import { html } from "../html.js";
import { useLive } from "../live.js";
import { Badge, Problem } from "../ui.js";

const TONES = { queued: "neutral", learned: "accent", served: "good", rejected: "warn", quarantined: "bad" };
const FINAL = new Set(["served", "rejected", "quarantined"]);
const MEANINGS = {
  queued: "It is in the log, and waits to be learned.",
  learned: "It is learned; the live version does not cover it yet.",
  served: "The live version covers it.",
  rejected: "It was not learned.",
  quarantined: "It was not learned, and is set apart.",
};

export function Receipt({ model, id }) {
  const { data, error } = useLive(path("models", model, "feedback", id), { every: 1, model, until: ({ state }) => FINAL.has(state) });
  if (!data) return html`<${Problem} error=${error} />`;
  const { state, version, reason } = data;
  return html`<div role="status" class="receipt">
    <${Badge} tone=${TONES[state]}>${words(state)}<//>
    <span>${MEANINGS[state]}${version && ` First by version ${version}.`}${reason && ` ${reason}`}</span>
    ${!FINAL.has(state) && html`<span class="spinner" aria-hidden="true"></span>`}
    <code class="long">${id}</code>
  </div>`;
}

// Alarms: which stand, and how one is told.

import { words } from "./format.js";
import { html } from "./html.js";
import { Ago, Badge } from "./ui.js";

export const isStanding = (alarm) => (alarm.state ?? "standing") === "standing";
export const isOver = (alarm) => alarm.state === "over";

export const standing = (metrics) => (metrics?.alarms ?? []).filter(isStanding);

export const TONES = { standing: "bad", acknowledged: "warn", over: "neutral" };

export function AlarmText({ alarm }) {
  const state = alarm.state ?? "standing";
  return html`<div class="alarm-text">
    <${Badge} tone=${TONES[state]}>${words(alarm.kind)}<//>
    <span>${alarm.message}</span>
    <small>
      ${state !== "standing" && `${state}${alarm.acknowledged_by ? ` by ${alarm.acknowledged_by}` : ""} · `}
      ${alarm.time && html`<${Ago} time=${alarm.time} />`}
    </small>
  </div>`;
}

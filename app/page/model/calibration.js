// How often a model is right where it says that it is so sure.

import { percent, short } from "../format.js";
import { html } from "../html.js";
import { Card, Empty, Table } from "../ui.js";

const SIZE = 220;
const EDGE = 26;

const place = (share) => EDGE + (SIZE - 2 * EDGE) * share;

// `bins`: `{confidence, accuracy, count}`, those that have labels.
export function Calibration({ bins }) {
  if (!bins.length) return html`<${Card} title="Calibration"><${Empty}>Nothing was scored yet.<//><//>`;
  const most = Math.max(...bins.map(({ count }) => count));
  const columns = [
    { name: "confidence", label: "Says", isNumber: true },
    { name: "accuracy", label: "Is right", isNumber: true },
    { name: "count", label: "Answers", isNumber: true },
  ];
  const cell = (bin, name) => (name === "count" ? short(bin.count) : percent(bin[name]));
  return html`<${Card} title="Calibration">
    <p class="note">On the line, an answer given with 80 % is right in 80 of 100 cases. Larger points have more answers.</p>
    <div class="beside">
      <svg class="calibration" viewBox="0 0 ${SIZE} ${SIZE}" aria-hidden="true">
        <path class="ideal" d="M${place(0)},${place(1)}L${place(1)},${place(0)}" />
        <path class="frame" d="M${place(0)},${place(0)}V${place(1)}H${place(1)}" />
        <path class="line" d=${"M" + bins.map((bin) => `${place(bin.confidence)},${place(1 - bin.accuracy)}`).join("L")} />
        ${bins.map(
          (bin) =>
            html`<circle cx=${place(bin.confidence)} cy=${place(1 - bin.accuracy)} r=${2.5 + 5 * Math.sqrt(bin.count / most)} />`,
        )}
        <text x=${SIZE / 2} y=${SIZE - 6} text-anchor="middle">says</text>
        <text x="10" y=${SIZE / 2} text-anchor="middle" transform="rotate(-90 10 ${SIZE / 2})">is right</text>
      </svg>
      <${Table} caption="Calibration" columns=${columns} rows=${bins} cell=${cell} />
    </div>
  <//>`;
}

// A line without axes: how a score has gone, at a glance.

import { Component, html } from "./html.js";
import { shown } from "./score.js";

const WIDTH = 120;
const HEIGHT = 32;
const EDGE = 3;

// `points`: `[time, value]`, oldest first.
export class Sparkline extends Component {
  shouldComponentUpdate(next) {
    return next.points !== this.props.points;
  }

  render({ points, score, label }) {
    if (!points?.length) return html`<span class="sparkline none" aria-hidden="true"></span>`;
    const [first, last] = [points[0], points.at(-1)];
    const text = `${label}: from ${shown(score, first[1])} to ${shown(score, last[1])}`;
    const line = drawn(points);
    return html`<svg class="sparkline" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${text} preserveAspectRatio="none">
      <path class="area" d="${line}L${WIDTH - EDGE},${HEIGHT}L${EDGE},${HEIGHT}Z" />
      <path class="line" d=${line} />
    </svg>`;
  }
}

function drawn(points) {
  const all = points.length > 1 ? points : [[points[0][0] - 1, points[0][1]], points[0]];
  const times = all.map(([time]) => time);
  const values = all.map(([, value]) => value);
  const [left, right] = [times[0], times.at(-1)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = high - low || Math.abs(high) || 1;
  return all
    .map(([time, value], index) => {
      const x = EDGE + ((WIDTH - 2 * EDGE) * (time - left)) / (right - left || 1);
      const y = HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * (value - low)) / room;
      return `${index ? "L" : "M"}${x.toFixed(1)},${(high === low ? HEIGHT / 2 : y).toFixed(1)}`;
    })
    .join("");
}

// Scores over time, with what happened marked on them. A table beside it says the same without a picture.

import { clockTime } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import uPlot from "./vendor/uplot.js";

const HEIGHT = 280;
const SNAP = 8; // Pixels from the pointer within which a mark is told.

const isDark = matchMedia("(prefers-color-scheme: dark)");

export function useScheme() {
  const [dark, setDark] = useState(isDark.matches);
  useEffect(() => {
    const hear = () => setDark(isDark.matches);
    isDark.addEventListener("change", hear);
    return () => isDark.removeEventListener("change", hear);
  }, []);
  return dark ? "dark" : "light";
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const seriesColour = (index) => `--series-${(index % 8) + 1}`;

// `series`: `{name, values, format}`; `marks`: `{time, tone, text, isMinor}`; `span`: `[from, to]` in seconds since 1970.
export function TimeChart({ label, times, series, marks = [], span, isShare = false }) {
  const place = useRef();
  const chart = useRef(null);
  const latest = useRef({});
  const [told, setTold] = useState("");
  const scheme = useScheme();
  const shape = series.map(({ name }) => name).join("\n");
  latest.current = { times, series, marks, span, setTold };

  useEffect(() => {
    const made = new uPlot(options(place.current.clientWidth, latest, series, isShare), data(times, series), place.current);
    chart.current = made;
    const sizes = new ResizeObserver(([{ contentRect }]) => made.setSize({ width: contentRect.width, height: HEIGHT }));
    sizes.observe(place.current);
    return () => {
      sizes.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [shape, scheme, isShare]);

  useEffect(() => {
    const made = chart.current;
    if (!made) return;
    made.setData(data(times, series), false);
    made.setScale("x", { min: span[0], max: span[1] });
  }, [times, series, marks, span]);

  return html`<div class="chart">
    <div class="chart-legend">
      ${series.length > 1 &&
      series.map(
        ({ name }, index) =>
          html`<span><i style=${{ background: `var(${seriesColour(index)})` }}></i>${name}</span>`,
      )}
    </div>
    <div ref=${place} role="img" aria-label=${label} />
    <p class="chart-told" aria-hidden="true">${told || "\u00a0"}</p>
  </div>`;
}

const data = (times, series) => [times, ...series.map(({ values }) => values)];

function options(width, latest, series, isShare) {
  const axis = { stroke: colour("--ink-2"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { points: { size: 7 }, drag: { x: true, y: false, setScale: true } },
    scales: { x: { range: (_, low, high) => [low, high] }, y: { range: (_, low, high) => room(low, high, isShare) } },
    axes: [
      { ...axis, font, size: 34, grid: { show: false }, space: 80, values: timesOf },
      { ...axis, font, size: isShare ? 54 : 64, values: (_, values) => values.map((value) => series[0].format(value)) },
    ],
    series: [{}, ...series.map((each, index) => line(each, index))],
    hooks: { draw: [(plot) => drawMarks(plot, latest.current.marks)], setCursor: [(plot) => tell(plot, latest.current)] },
  };
}

const TIME = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const DATE = { day: "numeric", month: "short" };

// Times of the day, and a date where a day begins or where all are of other days.
function timesOf(_, times, __, ___, step) {
  return times.map((time) => {
    const date = new Date(1000 * time);
    const isDay = step >= 86400 || (date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0);
    if (isDay) return date.toLocaleDateString("en", DATE);
    return date.toLocaleTimeString("en", step < 60 ? { ...TIME, second: "2-digit" } : TIME);
  });
}

function line({ name, isFaint }, index) {
  const stroke = colour(seriesColour(index));
  return { label: name, stroke, width: isFaint ? 1 : 2, dash: isFaint ? [4, 4] : undefined, points: { size: 5, fill: stroke } };
}

// Some room around the values, and of shares none beyond 0 and 1.
function room(low, high, isShare) {
  if (low === null || high === null) return [0, 1];
  const edge = (high - low) * 0.12 || Math.abs(high) * 0.05 || 0.05;
  const [bottom, top] = [low - edge, high + edge];
  if (isShare) return [Math.max(0, bottom), Math.min(1, Math.max(top, bottom + 0.01))];
  return [low >= 0 ? Math.max(0, bottom) : bottom, top];
}

function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const { time, tone, isMinor } of marks) {
    const x = Math.round(plot.valToPos(time, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    const bottom = bbox.top + bbox.height;
    ctx.strokeStyle = ctx.fillStyle = colour(`--mark-${tone}`);
    ctx.lineWidth = (isMinor ? 1 : 1.5) * scale;
    ctx.setLineDash(isMinor ? [] : [3 * scale, 3 * scale]);
    ctx.beginPath();
    ctx.moveTo(x, isMinor ? bottom - 8 * scale : bbox.top + 8 * scale);
    ctx.lineTo(x, bottom);
    ctx.stroke();
    if (isMinor) continue;
    ctx.beginPath();
    ctx.arc(x, bbox.top + 5 * scale, 4 * scale, 0, 2 * Math.PI);
    ctx.fill();
  }
  ctx.restore();
}

function tell(plot, { times, series, marks, setTold }) {
  const { idx, left } = plot.cursor;
  if (idx === null || idx === undefined || left < 0) {
    setTold("");
    return;
  }
  const values = series.map(({ name, values: all, format }) => (all[idx] == null ? null : `${name} ${format(all[idx])}`));
  const near = marks.filter(({ time }) => Math.abs(plot.valToPos(time, "x") - left) < SNAP).slice(-2);
  setTold([clockTime(times[idx]), ...values, ...near.map(({ text }) => text)].filter(Boolean).join(" · "));
}

// Numbers and times as people read them.

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

export const now = () => Date.now() / 1000;

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

export function short(count) {
  if (count === undefined || count === null) return "–";
  if (count < 10_000) return Math.round(count).toLocaleString("en");
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(count);
}

export function percent(value, digits = 1) {
  return Number.isFinite(value) ? `${(100 * value).toFixed(digits)} %` : "–";
}

export function number(value, digits = 3) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100_000 || size < 0.0001) return value.toExponential(2);
  return Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size))))).toLocaleString("en", {
    maximumFractionDigits: 6,
  });
}

export function span(seconds) {
  const size = Math.max(0, seconds);
  if (size < 1) return `${Math.round(size * 1000)} ms`;
  if (size < MINUTE) return `${Math.floor(size)} s`;
  if (size < HOUR) return `${Math.floor(size / MINUTE)} min`;
  if (size < 2 * DAY) return `${Math.floor(size / HOUR)} h`;
  return `${Math.floor(size / DAY)} d`;
}

export function ago(time, at = now()) {
  return at - time < 1.5 ? "just now" : `${span(at - time)} ago`;
}

export function clockTime(time) {
  return new Date(time * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

export const words = (name) => name.replaceAll("_", " ");

export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) : "");

// The scores of a model over a span of time, in steps, with what happened meanwhile.

import { path, query } from "../api.js";
import { toneOf } from "../event_kinds.js";
import { now } from "../format.js";
import { useEffect, useMemo, useState } from "../html.js";
import { useLive } from "../live.js";

export const SPANS = {
  "1h": { label: "1 hour", seconds: 3600, step: 60 },
  "6h": { label: "6 hours", seconds: 6 * 3600, step: 60 },
  "1d": { label: "1 day", seconds: 86400, step: 300 },
  "7d": { label: "7 days", seconds: 7 * 86400, step: 1800 },
  "30d": { label: "30 days", seconds: 30 * 86400, step: 7200 },
};
const RARE = "alarm,alarm_over,rollback,promote,job,recipe,pause,resume,created";
const MARKED = 500;
const BEFORE = 30; // Seconds that are shown before a model was made.
const APART = 60; // Seconds after which what is asked for begins later.

function useNow(seconds) {
  const [at, setAt] = useState(now);
  useEffect(() => {
    const timer = setInterval(() => setAt(now()), 1000 * seconds);
    return () => clearInterval(timer);
  }, [seconds]);
  return at;
}

// `{buckets, marks, step, span, error}`: a bucket is what the API gives, and `marks` are for a chart.
export function useHistory({ name: model, created }, spanName) {
  const { seconds, step } = SPANS[spanName];
  const at = useNow(10);
  const since = Math.floor((at - seconds) / APART) * APART;
  const where = (...parts) => path("models", model, ...parts);
  const scores = useLive(where("scores") + query({ since, step }), { every: 10, model, keep: true });
  const rare = useLive(where("events") + query({ since, kind: RARE, limit: MARKED }), { every: 30, model, keep: true });
  const versions = useLive(where("events") + query({ since, kind: "version", limit: MARKED }), { every: 30, model, keep: true });

  const marks = useMemo(() => {
    const all = [...(versions.data?.events ?? []), ...(rare.data?.events ?? [])];
    return all.map(markOf).sort((a, b) => a.time - b.time);
  }, [versions.data, rare.data]);
  const span = useMemo(() => [Math.min(Math.max(at - seconds, created - BEFORE), at - 2 * BEFORE), at], [at, seconds, created]);
  return { buckets: scores.data?.buckets, step: scores.data?.step ?? step, marks, span, error: scores.error };
}

function markOf(event) {
  const isMinor = event.kind === "version" || event.kind === "job";
  return { time: event.time, tone: toneOf(event), text: event.message || event.kind, isMinor };
}

// Times and one list of values for each series, with a gap wherever steps without labels lie between.
export function columns(buckets, step, series) {
  const times = [];
  const values = series.map(() => []);
  let last = null;
  for (const bucket of buckets) {
    if (last !== null && bucket.time - last > 2 * step) {
      times.push(last + step);
      for (const column of values) column.push(null);
    }
    times.push(bucket.time);
    series.forEach((of, index) => values[index].push(of(bucket) ?? null));
    last = bucket.time;
  }
  return { times, values };
}

const MEASURES = ["accuracy", "mae", "rmse", "log_loss", "auc"];

export const measuresIn = (buckets) => MEASURES.filter((name) => buckets.some((bucket) => Number.isFinite(bucket[name])));

// The names in one part of the buckets, such as the classes, the ones with the most labels first.
export function namesIn(buckets, part, most = 8) {
  const counts = new Map();
  for (const bucket of buckets) {
    for (const [name, found] of Object.entries(bucket[part] ?? {})) {
      counts.set(name, (counts.get(name) ?? 0) + (found.count ?? found.support));
    }
  }
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, most);
}

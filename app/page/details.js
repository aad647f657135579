// Scores and alarms of many models: asked for a few at a time, those in sight first, and kept while one looks around.

import { get, path, query } from "./api.js";
import { onEvents } from "./events.js";
import { now } from "./format.js";
import { useEffect, useState } from "./html.js";
import { mainScore } from "./score.js";

const AT_ONCE = 4;
const FRESH = 15; // Seconds.
const MINUTE = 60;
const BACK = 6 * 3600;
const POINTS = 72;
const SOON = 5;
const ALARMS = new Set(["alarm", "alarm_over", "alarm_acknowledged"]);

export class Details {
  constructor(onChange) {
    this.found = new Map(); // By name: `{metrics, points, at}`.
    this.models = new Map();
    this.seen = new Set();
    this.asked = new Set();
    this.queue = [];
    this.onChange = onChange;
    this.isOver = false;
    this.told = null;
    this.stop = onEvents((events) => this.hear(events));
    this.timer = setInterval(() => this.look(), 1000);
  }

  close() {
    this.isOver = true;
    this.stop();
    clearInterval(this.timer);
    clearTimeout(this.told);
  }

  // What is shown now; each model is asked about once, and again and again while it is in sight.
  list(models) {
    this.models = new Map(models.map((model) => [model.name, model]));
    for (const name of [...this.found.keys()]) if (!this.models.has(name)) this.found.delete(name);
    this.look();
  }

  sight(name, isSeen) {
    if (isSeen) this.seen.add(name);
    else this.seen.delete(name);
    this.look();
  }

  hear(events) {
    if (events.length === 0) for (const name of this.seen) this.hasChanged(name, 0);
    for (const { model, kind } of events) this.hasChanged(model, ALARMS.has(kind) ? 0 : SOON);
  }

  // Asks about a model again, so many seconds after the last time at the earliest.
  hasChanged(name, seconds) {
    const known = this.found.get(name);
    if (known && (seconds === 0 || this.seen.has(name))) known.at = Math.min(known.at, known.at - FRESH + seconds);
  }

  look() {
    if (document.hidden || this.isOver) return;
    const isDue = (name) => !this.asked.has(name) && now() - (this.found.get(name)?.at ?? 0) > FRESH;
    const seen = [...this.seen].filter((name) => this.models.has(name) && isDue(name));
    const unknown = [...this.models.keys()].filter((name) => !this.found.has(name) && !this.seen.has(name) && isDue(name));
    this.queue = [...seen, ...unknown];
    while (this.asked.size < AT_ONCE && this.queue.length) this.ask(this.queue.shift());
  }

  async ask(name) {
    this.asked.add(name);
    const model = this.models.get(name);
    try {
      const metrics = await get(path("models", name, "metrics"));
      const points = this.seen.has(name) ? await history(model) : (this.found.get(name)?.points ?? null);
      this.found.set(name, { metrics, points: same(points, this.found.get(name)?.points), at: now() });
    } catch {
      this.found.set(name, { ...this.found.get(name), at: now() }); // The list says what is wrong.
    }
    this.asked.delete(name);
    this.tell();
    this.look();
  }

  tell() {
    this.told ??= setTimeout(() => {
      this.told = null;
      if (!this.isOver) this.onChange(new Map(this.found));
    }, 100);
  }
}

async function history({ name, spec, created }) {
  const since = Math.round(Math.max(now() - BACK, created - MINUTE));
  const step = MINUTE * Math.max(1, Math.round((now() - since) / MINUTE / POINTS));
  const { buckets } = await get(path("models", name, "scores") + query({ since, step }));
  const score = mainScore(spec);
  const measure = score === "subset_accuracy" ? "accuracy" : score === "normalized_mae" ? "mae" : score;
  return buckets.filter((bucket) => Number.isFinite(bucket[measure])).map((bucket) => [bucket.time, bucket[measure]]);
}

// The points from before where nothing has changed, so that nothing is drawn again.
function same(points, before) {
  return before && JSON.stringify(points) === JSON.stringify(before) ? before : points;
}

export function useDetails(models) {
  const [found, setFound] = useState(() => new Map());
  const [details] = useState(() => ({ current: null }));
  useEffect(() => {
    details.current = new Details(setFound);
    return () => details.current.close();
  }, []);
  useEffect(() => {
    if (models) details.current?.list(models);
  }, [models]);
  return [found, (name, isSeen) => details.current?.sight(name, isSeen)];
}

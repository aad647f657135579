// What happens, as it happens: one stream of server-sent events, gone on with after a break where it stopped.
//
// Read by fetch, since an EventSource can send no key.

import { path, send } from "./api.js";
import { Store } from "./store.js";

const MAX_WAIT = 15;
const SILENCE = 45; // Seconds; the server tells more often that it is there.
const TOGETHER = 200; // Milliseconds: events of a burst are told together.

// `state`: "connecting", "live", "lost" (it is tried again), or "absent" where the server has no such stream.
export const link = new Store({ state: "connecting" });

const listeners = new Set();
let waiting = [];

// `listener` gets lists of events; an empty one after a break, when anything may have changed.
export function onEvents(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(events) {
  for (const listener of [...listeners]) listener(events);
}

function collect(event) {
  if (waiting.push(event) > 1) return;
  setTimeout(() => {
    const events = waiting;
    waiting = [];
    tell(events);
  }, TOGETHER);
}

// Follows the events of all models, or of one, until the function that it returns is called.
export function follow(model) {
  const ended = new AbortController();
  const where = model ? path("models", model, "events") : path("events");
  read(where, ended.signal);
  return () => ended.abort();
}

async function read(where, signal) {
  let last;
  let failures = 0;
  link.set({ state: "connecting" });
  while (!signal.aborted) {
    try {
      await readOnce(where, last, signal, (id) => {
        last = id ?? last;
        if (failures) tell([]);
        failures = 0;
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) return;
      if (error.status === 404 || error.status === 405 || error.status === 406) {
        link.set({ state: "absent" });
        return;
      }
    }
    if (signal.aborted) return;
    failures += 1;
    link.set({ state: "lost" });
    const seconds = Math.min(MAX_WAIT, 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

// Reads one answer to its end; `heard` is called with the id of each event, and without one when it has begun.
async function readOnce(where, last, signal, heard) {
  const silent = new AbortController();
  const headers = { accept: "text/event-stream" };
  if (last) headers["last-event-id"] = last;
  const either = AbortSignal.any([signal, silent.signal]);
  let timer = setTimeout(() => silent.abort(), 1000 * SILENCE);
  try {
    const answer = await send("GET", where, { headers, signal: either });
    if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) throw { status: 406 };
    heard();
    link.set({ state: "live" });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), 1000 * SILENCE);
      const blocks = (rest + part.value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const found = parse(block);
        if (found.data) collect(JSON.parse(found.data));
        if (found.id) heard(found.id);
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

function parse(block) {
  const found = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "data" && found.data) found.data += "\n" + value;
    else if (name) found[name] = value;
  }
  return found;
}

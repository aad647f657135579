// What the API answers, kept up to date: asked for again every few seconds, and at once when an event says that it has changed.

import { get } from "./api.js";
import { onEvents } from "./events.js";
import { now } from "./format.js";
import { useEffect, useRef, useState } from "./html.js";

const HIDDEN = 60; // Seconds between looks while nobody sees the page.
const SOON = 100; // Milliseconds from an event to a look: what comes with it is in by then.
const APART = 600; // Milliseconds between two looks, however often something happens.
const NOTHING = { data: undefined, error: null, at: 0 };

// `{data, error, at, refresh}` of a GET; `data` stays while it cannot be had anew, and `error` says why. `model`: whose
// events make it look again; null: those of all. `where` null asks nothing. `keep`: what was there stays until another
// `where` has answered. `until(data)`: it is asked for no more once that is true.
export function useLive(where, { every = 5, model = undefined, keep = false, until } = {}) {
  const [state, setState] = useState({ where, ...NOTHING });
  const again = useRef(() => {});

  useEffect(() => {
    if (!where) return undefined;
    const ended = new AbortController();
    const { signal } = ended;
    let timer;
    let asking = false;
    let isStale = false;
    let began = 0;
    let isFinal = false;

    async function look() {
      clearTimeout(timer);
      isStale = asking;
      if (asking || isFinal) return;
      asking = true;
      began = performance.now();
      try {
        const data = await get(where, { signal });
        isFinal = until?.(data) ?? false;
        if (!signal.aborted) setState({ where, data, error: null, at: now() });
      } catch (error) {
        if (!signal.aborted) setState((before) => ({ ...(before.where === where || keep ? before : NOTHING), where, error }));
      }
      asking = false;
      if (signal.aborted || isFinal) return;
      const wait = isStale ? APART : 1000 * (document.hidden ? HIDDEN : every) * (0.9 + Math.random() / 5);
      timer = setTimeout(look, wait);
    }

    function soon() {
      clearTimeout(timer);
      if (asking) isStale = true;
      else timer = setTimeout(look, Math.max(SOON, began + APART - performance.now()));
    }

    again.current = look;
    look();
    const onSight = () => !document.hidden && soon();
    document.addEventListener("visibilitychange", onSight);
    const stop = onEvents((events) => {
      const concerns = model === null || events.some((event) => event.model === model);
      if (events.length === 0 || (model !== undefined && concerns)) soon();
    });
    return () => {
      ended.abort();
      clearTimeout(timer);
      stop();
      document.removeEventListener("visibilitychange", onSight);
    };
  }, [where, every, model]);

  const found = state.where === where || keep ? state : NOTHING;
  return { ...found, refresh: () => again.current() };
}

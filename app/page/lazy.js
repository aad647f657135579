// Views that are loaded when they are first shown, and all of them once the page has nothing else to do.

import { html, useEffect, useState } from "./html.js";
import { Notice } from "./ui.js";

const AGAIN = 3000; // Milliseconds until a view that could not be loaded is asked for again.
const waiting = [];

// The view that `load` gives, a function that imports a module, under `name`.
export function lazy(load, name) {
  let view = null;
  const fetched = async () => (view ??= (await load())[name]);
  waiting.push(fetched);
  return function Lazy(given) {
    const [state, setState] = useState({ view });
    useEffect(() => {
      let timer;
      async function fetch() {
        try {
          const found = await fetched();
          setState({ view: found });
        } catch {
          setState({ view: null, failed: true });
          timer = setTimeout(fetch, AGAIN);
        }
      }
      if (!view) fetch();
      return () => clearTimeout(timer);
    }, []);
    if (state.view) return html`<${state.view} ...${given} />`;
    if (!state.failed) return html`<p class="unseen" aria-busy="true">Loading</p>`;
    return html`<${Notice} tone="bad" role="alert">This part of the page cannot be loaded from the server. It is tried again.<//>`;
  };
}

// Loads the views that have not been shown yet, so that none is waited for later.
export function loadAhead() {
  const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 200));
  idle(() => waiting.forEach((fetched) => fetched().catch(() => {})));
}

// What has just been done, for eyes and for screen readers.

import { html, useEffect } from "./html.js";
import { Store, useStore } from "./store.js";

const SECONDS = 8;
const said = new Store(null);

export function announce(text, tone = "good") {
  said.set({ text, tone });
}

export function Announcements() {
  const found = useStore(said);
  useEffect(() => {
    if (!found) return undefined;
    const timer = setTimeout(() => said.set(null), 1000 * SECONDS);
    return () => clearTimeout(timer);
  }, [found]);
  return html`<div class="announcements" role="status" aria-live="polite">
    ${found &&
    html`<div class="announcement ${found.tone}">
      <span>${found.text}</span>
      <button type="button" class="plain" aria-label="Dismiss" onClick=${() => said.set(null)}>×</button>
    </div>`}
  </div>`;
}

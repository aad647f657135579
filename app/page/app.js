// The frame around the views: who may see them, where one is, and whether what is shown is up to date.

import { Announcements } from "./announce.js";
import { get, ROOT } from "./api.js";
import { follow, link } from "./events.js";
import { html, useEffect, useState } from "./html.js";
import { key, setKey } from "./key.js";
import { KeyForm } from "./key_form.js";
import { lazy, loadAhead } from "./lazy.js";
import { useLive } from "./live.js";
import { Overview } from "./overview.js";
import { href, useRoute } from "./route.js";
import { useStore } from "./store.js";
import { Heading, Notice } from "./ui.js";

const ModelView = lazy(() => import("./model/view.js"), "ModelView");
const EventsView = lazy(() => import("./events_view.js"), "EventsView");
const WorkersView = lazy(() => import("./workers.js"), "WorkersView");
const KeysView = lazy(() => import("./keys.js"), "KeysView");

export function App() {
  const { wanted } = useStore(key);
  const [admitted, setAdmitted] = useState(false);
  useEffect(() => wanted && setAdmitted(false), [wanted]);
  if (wanted) return html`<${KeyForm} />`;
  return admitted ? html`<${Page} />` : html`<${Door} onOpen=${() => setAdmitted(true)} />`;
}

// Nothing is shown before the server has let this browser in.
function Door({ onOpen }) {
  const [error, setError] = useState(null);
  useEffect(() => {
    let timer;
    async function knock() {
      try {
        await get("v1/models");
        onOpen();
      } catch (found) {
        if (found.status === 503 || found.status === 504) onOpen(); // The key is good; what fails, the views say.
        else if (found.status !== 401) {
          setError(found);
          timer = setTimeout(knock, 3000);
        }
      }
    }
    knock();
    return () => clearTimeout(timer);
  }, []);
  if (!error) return html`<main class="door" aria-busy="true"><p class="unseen">Loading</p></main>`;
  return html`<main class="door"><${Notice} tone="bad" role="alert">${error.message} It is tried again.<//></main>`;
}

function Page() {
  const route = useRoute();
  const [section = "models", model, tab] = route.parts;
  const shownModel = section === "models" ? model : undefined;
  const workers = useLive("v1/workers", { every: 5 });
  useEffect(() => follow(shownModel), [shownModel]);
  useEffect(loadAhead, []);

  return html`
    <a class="skip" href="#content" onClick=${skip}>Skip to content</a>
    <${Top} section=${section} hasWorkers=${workers.data !== undefined} />
    <main id="content" tabindex="-1">
      ${view(section, shownModel, tab, route.asked, workers)}
    </main>
    <${Announcements} />
  `;
}

function view(section, model, tab, asked, workers) {
  if (section === "models" && model) return html`<${ModelView} key=${model} model=${model} tab=${tab} asked=${asked} />`;
  if (section === "models") return html`<${Overview} />`;
  if (section === "events") return html`<${EventsView} asked=${asked} />`;
  if (section === "workers") return html`<${WorkersView} found=${workers} />`;
  if (section === "keys") return html`<${KeysView} />`;
  return html`<${Heading} title="Not found">There is nothing here<//>
    <p><a href=${href("models")}>To the models</a></p>`;
}

// The fragment of the address is the route, so that the link itself must not be followed.
function skip(event) {
  event.preventDefault();
  document.getElementById("content").focus();
}

function Top({ section, hasWorkers }) {
  const { value } = useStore(key);
  const entry = (name, label) =>
    html`<li><a href=${href(name)} aria-current=${section === name ? "page" : undefined}>${label}</a></li>`;
  return html`<header class="top">
    <a class="brand" href=${href("models")} aria-label="Driftline, all models"><${Mark} /><span>Driftline</span></a>
    <nav aria-label="Main">
      <ul>
        ${entry("models", "Models")} ${entry("events", "Events")} ${hasWorkers && entry("workers", "Workers")}
        ${entry("keys", "Keys")}
        <li><a href=${new URL("docs", ROOT)}>API</a></li>
      </ul>
    </nav>
    <${Link} />
    ${value && html`<button type="button" class="plain" onClick=${() => setKey(null)}>Forget key</button>`}
  </header>`;
}

const Mark = () =>
  html`<svg viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="8" />
    <path d="M5 20c4 0 4-9 8-9s4 11 8 11 3-8 6-8" />
  </svg>`;

const LINKS = { connecting: "Connecting", live: "Live", lost: "Reconnecting", absent: "Every few seconds" };

function Link() {
  const { state } = useStore(link);
  return html`<span class="link ${state}" role="status" aria-label="Updates: ${LINKS[state]}">
    <span class="dot" aria-hidden="true"></span>${LINKS[state]}
  </span>`;
}

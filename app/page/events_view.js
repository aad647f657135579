// What has happened to all models.

import { EventLog } from "./event_log.js";
import { html } from "./html.js";
import { Heading } from "./ui.js";

export const EventsView = () =>
  html`<div class="view-head"><${Heading} title="Events">Events<//></div>
    <${EventLog} />`;

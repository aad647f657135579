import { EventLog } from "../event_log.js";
import { html } from "../html.js";

export const ModelEvents = ({ model }) => html`<${EventLog} model=${model.name} />`;

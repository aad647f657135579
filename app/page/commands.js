// What an admin tells a model. Each has the id of its form, by which the server knows it when it comes again.

import { path, post, send } from "./api.js";

const once = (id) => ({ headers: { "idempotency-key": id } });

export const pause = (model, id, body) => post(path("models", model, "pause"), body, once(id));
export const resume = (model, id, body) => post(path("models", model, "resume"), body, once(id));
export const promote = (model, id, body) => post(path("models", model, "promote"), body, once(id));
export const rollBack = (model, id, body) => post(path("models", model, "rollback"), body, once(id));
export const retrain = (model, id, body) => post(path("models", model, "retrain"), body, once(id));
export const compare = (model, id, body) => post(path("models", model, "compare"), body, once(id));
export const acknowledge = (model, kind, body) => post(path("models", model, "alarms", kind, "acknowledge"), body);
export const cancelJob = async (job) => (await send("DELETE", path("jobs", job))).json();

// Events in words and colours.

import { words } from "./format.js";

const TONES = {
  alarm: "bad",
  refusal: "warn",
  rollback: "warn",
  pause: "warn",
  deleted: "bad",
  alarm_over: "good",
  promote: "good",
  resume: "good",
  version: "accent",
  job: "violet",
  recipe: "violet",
  forget: "violet",
  labeller: "violet",
};

// The kinds that the server knows today; others are shown as they come.
export const KINDS = [
  ...["version", "refusal", "rollback", "promote", "alarm", "alarm_over", "alarm_acknowledged", "job", "recipe", "pause"],
  ...["resume", "concept", "forget", "labeller", "source", "worker", "key", "refused", "created", "deleted"],
];

// A model that learns has a version every second; what else happens, people look for.
export const TELLING = KINDS.filter((kind) => kind !== "version").join();

export const toneOf = (event) => TONES[event.kind] ?? "neutral";
export const kindName = (kind) => words(kind);

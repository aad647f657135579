// Preact and htm under one name: what every view is written with.

import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export { Component, Fragment, render } from "./vendor/preact.js";
export * from "./vendor/hooks.js";

export const html = htm.bind(h);

// The API key: asked once, kept for as long as the tab is open, and sent with every call.

import { Store } from "./store.js";

const NAME = "driftline-key";

function kept() {
  try {
    return sessionStorage.getItem(NAME);
  } catch {
    return null; // A browser that keeps nothing: the key lasts until the page is loaded again.
  }
}

// `wanted`: the server has refused a call for want of a key; `refusal` says why, where one was sent.
export const key = new Store({ value: kept(), wanted: false, refusal: "" });

export function setKey(value) {
  try {
    if (value) sessionStorage.setItem(NAME, value);
    else sessionStorage.removeItem(NAME);
  } catch {
    // As above.
  }
  key.set({ value: value || null, wanted: !value, refusal: "" });
}

export function askForKey(sent, message) {
  if (sent !== key.value.value) return; // Another key has been given since.
  setKey(null);
  key.set({ value: null, wanted: true, refusal: sent ? message : "" });
}

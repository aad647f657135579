// Where one is: the part of the address after "#", as `#/models/weather/versions`.

import { Store, useStore } from "./store.js";

function read() {
  const [way, asked = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = way.split("/").filter(Boolean).map(decode);
  return { parts, asked: Object.fromEntries(new URLSearchParams(asked)) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const route = new Store(read());
let moves = 0;
addEventListener("hashchange", () => {
  moves += 1;
  route.set(read());
});

// Whether one has come here from another view, and not by opening the page.
export const hasMoved = () => moves > 0;

export const useRoute = () => useStore(route);
export const href = (...parts) => "#/" + parts.map((part) => encodeURIComponent(part)).join("/");
export const go = (...parts) => {
  location.hash = href(...parts);
};

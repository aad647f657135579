// The small parts that all views are made of.

import { ago, clockTime, now } from "./format.js";
import { html, useEffect, useId, useRef, useState } from "./html.js";
import { hasMoved } from "./route.js";
import { Store, useStore } from "./store.js";

const clock = new Store(now());
setInterval(() => document.hidden || clock.set(now()), 5000);

export function Ago({ time }) {
  const at = useStore(clock);
  if (!time) return "–";
  const date = new Date(time * 1000).toISOString();
  return html`<time datetime=${date} title=${clockTime(time)}>${ago(time, Math.max(at, now()))}</time>`;
}

export function Card({ title, aside, children, className = "" }) {
  const id = useId();
  return html`<section class="card ${className}" aria-labelledby=${id}>
    <header class="card-head">
      <h2 id=${id}>${title}</h2>
      ${aside && html`<div class="aside">${aside}</div>`}
    </header>
    ${children}
  </section>`;
}

export const Badge = ({ tone = "neutral", children, title }) =>
  html`<span class="badge ${tone}" title=${title}>${children}</span>`;

export const Notice = ({ tone = "neutral", role, children }) =>
  html`<div class="notice ${tone}" role=${role}>${children}</div>`;

export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;

export function Tile({ label, value, note }) {
  return html`<div class="tile">
    <dt>${label}</dt>
    <dd>${value}${note && html`<small>${note}</small>`}</dd>
  </div>`;
}

// An error of a call. Where nobody knows whether it was done, it says that sending again does no harm. That a model is gone,
// its view says once.
export function Problem({ error, again }) {
  if (!error || error.code === "unknown_model") return null;
  return html`<div class="notice bad" role="alert">
    <p>
      <strong>${error.message}</strong>
      ${error.isOpen && again && " It may or may not have been done. Send it again: it is done once, however often it is sent."}
    </p>
  </div>`;
}

export function Button({ busy, kind = "", children, ...rest }) {
  return html`<button type="button" class=${kind} aria-busy=${busy ? "true" : undefined} disabled=${busy} ...${rest}>
    ${busy && html`<span class="spinner" aria-hidden="true"></span>`}${children}
  </button>`;
}

// A field of a form, with its label and what is wrong with it. `children` gets the attributes that tie them together.
export function Field({ label, hint, error, children, className = "" }) {
  const id = useId();
  const told = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return html`<div class="field ${className}">
    <label for=${id}>${label}</label>
    ${children({ id, "aria-describedby": told || undefined, "aria-invalid": error ? "true" : undefined })}
    ${hint && html`<small id="${id}-hint" class="hint">${hint}</small>`}
    ${error && html`<small id="${id}-error" class="wrong">${error}</small>`}
  </div>`;
}

// A dialog over the page: it takes the focus, keeps it, and gives it back.
export function Dialog({ title, onClose, children }) {
  const dialog = useRef();
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  return html`<dialog ref=${dialog} aria-labelledby=${id} onCancel=${onClose} onClose=${onClose}>
    <h2 id=${id}>${title}</h2>
    ${children}
  </dialog>`;
}

// A table that scrolls by itself where it is too wide. `columns`: `{name, label, isNumber}`; `cell(row, name)` fills it.
export function Table({ caption, columns, rows, cell, rowKey, rowClass }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="unseen">
        ${caption}
      </caption>
      <thead>
        <tr>
          ${columns.map((column) => html`<th scope="col" class=${column.isNumber ? "number" : ""}>${column.label}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row, index) =>
            html`<tr key=${rowKey ? rowKey(row) : index} class=${rowClass?.(row)}>
              ${columns.map(
                (column) => html`<td class=${column.isNumber ? "number" : ""} data-label=${column.label}>
                  ${cell(row, column.name)}
                </td>`,
              )}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

// A share as a bar, with its number beside it.
export function Bar({ share, tone = "accent", children }) {
  const width = Number.isFinite(share) ? Math.max(0, Math.min(1, share)) : 0;
  return html`<span class="bar"
    ><span class="bar-track" aria-hidden="true"><span class="bar-fill ${tone}" style=${{ width: `${100 * width}%` }} /></span
    ><span class="bar-text">${children}</span></span
  >`;
}

// The heading of a view, which takes the focus when the view is opened, so that a screen reader begins there.
export function Heading({ children, title }) {
  const heading = useRef();
  useEffect(() => {
    document.title = `${title} · Driftline`;
    if (hasMoved() && (document.activeElement === document.body || document.activeElement?.closest("nav"))) heading.current.focus();
  }, [title]);
  return html`<h1 ref=${heading} tabindex="-1">${children}</h1>`;
}

// A JSON value as text that can be copied.
export const Code = ({ value, label }) =>
  html`<pre class="code" tabindex="0" role="region" aria-label=${label}>${JSON.stringify(value, null, 2)}</pre>`;

export function useFilter(initial = "") {
  const [value, setValue] = useState(initial);
  return [value, (event) => setValue(event.target.value)];
}

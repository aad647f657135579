// Asks for the API key, and shows nothing else.

import { html, useEffect, useRef, useState } from "./html.js";
import { key, setKey } from "./key.js";
import { useStore } from "./store.js";
import { Field } from "./ui.js";

export function KeyForm() {
  const { refusal } = useStore(key);
  const [value, setValue] = useState("");
  const form = useRef();
  useEffect(() => {
    document.title = "Driftline";
    form.current.querySelector("input").focus();
  }, [refusal]);

  function give(event) {
    event.preventDefault();
    if (value.trim()) setKey(value.trim());
  }

  return html`<main class="door">
    <form class="card" ref=${form} onSubmit=${give}>
      <h1>Driftline</h1>
      <p>This server asks for an API key. It is kept until this tab is closed.</p>
      <${Field} label="API key" error=${refusal && `Refused: ${refusal}.`} hint="driftline keys create --scope admin">
        ${(tied) =>
          html`<input
            ...${tied}
            type="password"
            autocomplete="off"
            spellcheck="false"
            placeholder="ID.SECRET"
            value=${value}
            onInput=${(event) => setValue(event.target.value)}
          />`}
      <//>
      <div class="buttons"><button type="submit" class="main">Open</button></div>
    </form>
  </main>`;
}

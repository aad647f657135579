// API keys: who may call, and what; a new one is shown once.

import { useAction } from "./action.js";
import { announce } from "./announce.js";
import { call, path, post } from "./api.js";
import { plural } from "./format.js";
import { html, useState } from "./html.js";
import { useLive } from "./live.js";
import { Ago, Badge, Button, Card, Dialog, Field, Heading, Notice, Problem, Table } from "./ui.js";

const SCOPES = {
  predict: "asks for predictions",
  feedback: "hands in labels",
  weights: "says how much a label counts",
  metrics: "reads what is measured",
  audit: "reads who did what",
  admin: "does everything",
};
const COLUMNS = [
  { name: "name", label: "Name" },
  { name: "scopes", label: "Allows" },
  { name: "models", label: "For" },
  { name: "owner", label: "Owner" },
  { name: "created", label: "Made" },
  { name: "expires", label: "Expires" },
  { name: "change", label: "" },
];

export function KeysView() {
  const found = useLive("v1/keys", { every: 5 });
  const [revoked, setRevoked] = useState(null);
  const [rotated, setRotated] = useState(null);
  const keys = found.data?.keys ?? [];

  function cell(key, name) {
    if (name === "name") return html`<strong>${key.name || "–"}</strong><span class="sub">${key.id}</span>`;
    if (name === "scopes") return key.scopes.map((scope) => html`<${Badge} tone=${scope === "admin" ? "warn" : "neutral"}>${scope}<//> `);
    if (name === "created") return html`<${Ago} time=${key.created} />`;
    if (name === "models") return key.models.length ? key.models.join(", ") : "all models";
    if (name === "owner") return key.owner || "the instance";
    if (name === "expires") return key.expires === null ? "never" : html`<time>${new Date(1000 * key.expires).toISOString().slice(0, 10)}</time>`;
    return html`<button type="button" aria-label="Rotate ${key.name || key.id}" onClick=${() => setRotated(key)}>Rotate</button>
      <button type="button" aria-label="Revoke ${key.name || key.id}" onClick=${() => setRevoked(key)}>Revoke</button>`;
  }

  return html`
    <div class="view-head"><${Heading} title="Keys">Keys<//></div>
    <${Problem} error=${found.error} />
    ${found.data &&
    html`<${Card} title=${plural(keys.length, "key")}>
        ${keys.length
          ? html`<${Table} caption="API keys" columns=${COLUMNS} rows=${keys} cell=${cell} rowKey=${(key) => key.id} />`
          : html`<p>There is no key: this machine alone may call, and may do everything. The first key has to allow <code>admin</code>.</p>`}
      <//>
      <${Make} onMade=${found.refresh} />`}
    ${rotated && html`<${Rotate} rotated=${rotated} onClose=${() => setRotated(null)} />`}
    ${revoked && html`<${Revoke} revoked=${revoked} onClose=${() => setRevoked(null)} onDone=${found.refresh} />`}
  `;
}

function Make({ onMade }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState(["predict", "feedback"]);
  const [models, setModels] = useState("");
  const [owner, setOwner] = useState("");
  const [days, setDays] = useState("");
  const [made, setMade] = useState(null);
  const { busy, error, run } = useAction((_, body) => post("v1/keys", body));

  async function make(event) {
    event.preventDefault();
    const expires = days ? Date.now() / 1000 + Number(days) * 86400 : null;
    const answer = await run({ name, scopes, models: models.split(/[\s,]+/).filter(Boolean), expires, owner });
    if (answer === undefined) return;
    setMade(answer.key);
    setName("");
    onMade();
  }

  const turn = (scope) => setScopes(scopes.includes(scope) ? scopes.filter((each) => each !== scope) : [...scopes, scope]);
  return html`<${Card} title="A new key">
    <form onSubmit=${make}>
      <${Field} label="Name" hint="Whose it is: what is done with it is told under this name.">
        ${(tied) => html`<input ...${tied} maxlength="200" value=${name} onInput=${(event) => setName(event.target.value)} />`}
      <//>
      <${Field} label="Models" hint="Names, or patterns such as team-a-*, with commas between them; none: all models.">
        ${(tied) => html`<input ...${tied} spellcheck="false" value=${models} onInput=${(event) => setModels(event.target.value)} />`}
      <//>
      <${Field} label="Owner" hint="Keys of one owner share predictions and labels; none: they are this key's alone.">
        ${(tied) => html`<input ...${tied} spellcheck="false" maxlength="64" value=${owner} onInput=${(event) => setOwner(event.target.value)} />`}
      <//>
      <${Field} label="Days" hint="How long it works; none: for good.">
        ${(tied) => html`<input ...${tied} type="number" min="0" step="any" value=${days} onInput=${(event) => setDays(event.target.value)} />`}
      <//>
      <fieldset class="choices">
        <legend>What it allows</legend>
        ${Object.entries(SCOPES).map(
          ([scope, what]) =>
            html`<label class="check">
              <input type="checkbox" checked=${scopes.includes(scope)} onChange=${() => turn(scope)} /> ${scope}: ${what}
            </label>`,
        )}
      </fieldset>
      <${Problem} error=${error} />
      <${Button} type="submit" kind="main" busy=${busy} disabled=${busy || !scopes.length}>Make a key<//>
    </form>
    <${Once} made=${made} />
  <//>`;
}

function Once({ made }) {
  return (
    made &&
    html`<${Notice} tone="good" role="status">
      <p><strong>This is shown once:</strong> <code class="made">${made}</code></p>
      <p class="note">It is sent as <code>Authorization: Bearer …</code>, or in <code>DRIFTLINE_KEY</code>.</p>
    <//>`
  );
}

function Rotate({ rotated, onClose }) {
  const [hours, setHours] = useState("24");
  const [made, setMade] = useState(null);
  const { busy, error, run } = useAction((_, body) => post(path("keys", rotated.id, "rotate"), body));

  async function go(event) {
    event.preventDefault();
    const answer = await run({ grace_seconds: Number(hours) * 3600 });
    if (answer !== undefined) setMade(answer.key);
  }

  return html`<${Dialog} title="Rotate ${rotated.name || rotated.id}" onClose=${onClose}>
    <form onSubmit=${go}>
      <p>The key gets a new secret, and may do what it did.</p>
      <${Field} label="Hours" hint="How long the former secret works too.">
        ${(tied) => html`<input ...${tied} type="number" min="0" max="720" step="any" value=${hours} onInput=${(event) => setHours(event.target.value)} />`}
      <//>
      <${Problem} error=${error} />
      <${Once} made=${made} />
      <div class="buttons">
        <button type="button" onClick=${onClose}>${made ? "Close" : "Cancel"}</button>
        ${!made && html`<${Button} type="submit" kind="main" busy=${busy}>Rotate<//>`}
      </div>
    </form>
  <//>`;
}

function Revoke({ revoked, onClose, onDone }) {
  const { busy, error, run } = useAction(() => call("DELETE", path("keys", revoked.id)));

  async function go(event) {
    event.preventDefault();
    if ((await run({})) === undefined) return;
    announce("The key works no longer.");
    onDone();
    onClose();
  }

  return html`<${Dialog} title="Revoke ${revoked.name || revoked.id}" onClose=${onClose}>
    <form onSubmit=${go}>
      <p>Whoever uses it is refused at once. This cannot be undone.</p>
      <${Problem} error=${error} />
      <div class="buttons">
        <button type="button" onClick=${onClose}>Cancel</button>
        <${Button} type="submit" kind="danger" busy=${busy}>Revoke<//>
      </div>
    </form>
  <//>`;
}

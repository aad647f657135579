// Events with filters: the audit of one model, or of all.

import { get, path, query } from "./api.js";
import { KINDS, kindName, TELLING } from "./event_kinds.js";
import { EventList } from "./event_list.js";
import { html, useEffect, useState } from "./html.js";
import { useLive } from "./live.js";
import { Button, Card, Empty, Field, Problem } from "./ui.js";

const AT_ONCE = 50;

export function EventLog({ model }) {
  const [kind, setKind] = useState(TELLING);
  const [text, setText] = useState("");
  const where = (before) => (model ? path("models", model, "events") : path("events")) + query({ kind, before, limit: AT_ONCE });
  const { data, error } = useLive(where(), { every: 30, model: model ?? null });
  const older = useOlder(where, kind);

  const all = [...(data?.events ?? []), ...older.events];
  const wanted = text.trim().toLowerCase();
  const found = unique(all).filter((event) => `${event.message} ${event.reason} ${event.actor} ${event.model}`.toLowerCase().includes(wanted));
  const next = older.events.length ? older.next : data?.next;
  return html`<${Card} title="Events" aside=${`${found.length} shown`}>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <${Field} label="Kind">
        ${(tied) =>
          html`<select ...${tied} value=${kind} onChange=${(event) => setKind(event.target.value)}>
            <option value=${TELLING}>all but versions</option>
            <option value="">all</option>
            ${KINDS.map((name) => html`<option value=${name}>${kindName(name)}</option>`)}
          </select>`}
      <//>
      <${Field} label="Find">
        ${(tied) =>
          html`<input ...${tied} type="search" placeholder="Text, reason or who" value=${text} onInput=${(event) => setText(event.target.value)} />`}
      <//>
    </form>
    <${Problem} error=${error ?? older.error} />
    ${data ? html`<${EventList} events=${found} withModel=${!model} />` : !error && html`<${Empty}>Loading<//>`}
    ${next && html`<div class="buttons"><${Button} busy=${older.busy} onClick=${() => older.load(next)}>Show older ones<//></div>`}
  <//>`;
}

// The pages after the first, which do not change.
function useOlder(where, kind) {
  const [state, setState] = useState({ events: [], next: null, busy: false, error: null });
  useEffect(() => setState({ events: [], next: null, busy: false, error: null }), [kind]);

  async function load(before) {
    setState((now) => ({ ...now, busy: true, error: null }));
    try {
      const page = await get(where(before));
      setState((now) => ({ events: [...now.events, ...page.events], next: page.next, busy: false, error: null }));
    } catch (error) {
      setState((now) => ({ ...now, busy: false, error }));
    }
  }

  return { ...state, load };
}

function unique(events) {
  const seen = new Set();
  return events.filter(({ model, id }) => !seen.has(`${model}/${id}`) && seen.add(`${model}/${id}`));
}

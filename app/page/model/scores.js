// How good a model is now, how that went, and what is wrong.

import { useAction } from "../action.js";
import { AlarmText, isOver, isStanding, standing } from "../alarms.js";
import { announce } from "../announce.js";
import { path, query } from "../api.js";
import { acknowledge } from "../commands.js";
import { TELLING } from "../event_kinds.js";
import { EventList } from "../event_list.js";
import { plural, short, span, words } from "../format.js";
import { html } from "../html.js";
import { useLive } from "../live.js";
import { href } from "../route.js";
import { scoreName, scoresIn, shown } from "../score.js";
import { Button, Card, Empty, Problem, Tile } from "../ui.js";
import { ScoreChart } from "./score_chart.js";

const TILES = 3;

export function ScoresTab({ model, metrics, refresh }) {
  return html`
    <${Tiles} model=${model} metrics=${metrics} />
    <${Alarms} model=${model} metrics=${metrics} refresh=${refresh} />
    <${ScoreChart} model=${model} />
    <${Latest} model=${model} />
  `;
}

function Tiles({ model, metrics }) {
  const window = metrics?.prequential?.window ?? {};
  const all = metrics?.prequential ?? {};
  const lag = metrics?.lag;
  return html`<dl class="tiles">
    ${scoresIn(window)
      .slice(0, TILES)
      .map(
        (name) =>
          html`<${Tile} label=${scoreName(name)} value=${shown(name, window[name])} note=${`all labels ${shown(name, all[name])}`} />`,
      )}
    <${Tile} label="Alarms" value=${standing(metrics).length} note=${standing(metrics).length ? "standing" : "none stands"} />
    ${window.count > 0 && html`<${Tile} label="Scored" value=${short(window.count)} note=${`newest of ${short(all.count)}`} />`}
    <${Tile}
      label="Waiting"
      value=${short(model.waiting)}
      note=${lag?.seconds > 0 ? `oldest ${span(lag.seconds)}` : model.state === "paused" ? "paused" : "up to date"}
    />
  </dl>`;
}

function Alarms({ model, metrics, refresh }) {
  const all = metrics?.alarms ?? [];
  const open = all.filter((alarm) => !isOver(alarm));
  const over = all.filter(isOver);
  if (!all.length) return null;
  return html`<${Card} title="Alarms" className=${open.some(isStanding) ? "alarmed" : ""}>
    ${open.length === 0 && html`<${Empty}>No alarm stands.<//>`}
    <ul class="alarms">
      ${open.map((alarm) => html`<${Alarm} key=${alarm.kind} alarm=${alarm} model=${model} refresh=${refresh} />`)}
    </ul>
    ${over.length > 0 &&
    html`<details>
      <summary>${plural(over.length, "alarm")} over</summary>
      <ul class="alarms">
        ${over.map((alarm) => html`<li key=${alarm.kind}><${AlarmText} alarm=${alarm} /></li>`)}
      </ul>
    </details>`}
  <//>`;
}

function Alarm({ alarm, model, refresh }) {
  const { busy, error, run } = useAction(() => acknowledge(model.name, alarm.kind, {}));

  async function go() {
    if ((await run({ at: alarm.time ?? 0 })) === undefined) return;
    announce(`The alarm ${words(alarm.kind)} is acknowledged.`);
    refresh();
  }

  return html`<li>
    <${AlarmText} alarm=${alarm} />
    ${alarm.state === "standing" && html`<${Button} busy=${busy} onClick=${go} aria-label=${`Acknowledge ${words(alarm.kind)}`}>Acknowledge<//>`}
    <${Problem} error=${error} />
  </li>`;
}

function Latest({ model }) {
  const where = path("models", model.name, "events") + query({ kind: TELLING, limit: 8 });
  const { data, error } = useLive(where, { every: 20, model: model.name });
  return html`<${Card} title="Latest events" aside=${html`<a href=${href("models", model.name, "events")}>All events</a>`}>
    ${data ? html`<${EventList} events=${data.events} />` : html`<${Problem} error=${error} />`}
  <//>`;
}

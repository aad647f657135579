// Retrain: a form made of the recipe's schema, a look at what it would give, and the job followed to its end.

import { useAction } from "../action.js";
import { announce } from "../announce.js";
import { path, query } from "../api.js";
import * as commands from "../commands.js";
import { short } from "../format.js";
import { html, useEffect, useMemo, useState } from "../html.js";
import { Job } from "../job.js";
import { useLive } from "../live.js";
import { Preview } from "../report.js";
import { changes, description, Schemas } from "../schema.js";
import { SchemaFields } from "../schema_form.js";
import { Ago, Button, Card, Code, Empty, Field, Problem } from "../ui.js";
import { EditList } from "./edit_list.js";
import { RaceList } from "./race_list.js";

const JOBS = 20;

export function RetrainTab({ model, refresh, asked }) {
  const [own, setOwn] = useState([]);
  const jobs = useJobs(model, own);
  const shown = asked?.job && !jobs.some(({ id }) => id === asked.job) ? [{ id: asked.job }, ...jobs] : jobs;
  return html`
    <${Jobs} jobs=${shown} asked=${asked?.job} model=${model} refresh=${refresh} />
    <${RetrainForm} key=${model.name} model=${model} onBegun=${(id) => setOwn([id, ...own])} />
  `;
}

// The jobs that this form began, and those that the events tell of, the newest first.
function useJobs(model, own) {
  const { data } = useLive(path("models", model.name, "events") + query({ kind: "job", limit: 100 }), { every: 30, model: model.name });
  return useMemo(() => {
    const found = new Map(own.map((id) => [id, { id }]));
    for (const { job, time } of data?.events ?? []) if (job) found.set(job, { id: job, time: found.get(job)?.time ?? time });
    return [...found.values()].slice(0, JOBS);
  }, [own, data]);
}

function Jobs({ jobs, asked, model, refresh }) {
  if (!jobs.length) return null;
  const [newest, ...older] = jobs;
  const open = older.some(({ id }) => id === asked);
  return html`<${Card} title="Jobs" aside=${newest.time && html`<${Ago} time=${newest.time} />`}>
    <${Job} key=${newest.id} id=${newest.id} model=${model.name} onEnd=${refresh} />
    ${older.length > 0 && html`<${Older} jobs=${older} open=${open} model=${model} />`}
  <//>`;
}

function Older({ jobs, open: atFirst, model }) {
  const [open, setOpen] = useState(atFirst);
  return html`<details open=${atFirst} onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>${jobs.length === 1 ? "1 job before" : `${jobs.length} jobs before`}</summary>
    ${open && jobs.map(({ id }) => html`<${Job} key=${id} id=${id} model=${model.name} />`)}
  </details>`;
}

function RetrainForm({ model, onBegun }) {
  const { schemas, error: unknown } = useSchemas();
  const [before] = useState(model.spec.recipe);
  const [recipe, setRecipe] = useState(before);
  const [edits, setEdits] = useState([]);
  const [race, setRace] = useState([]);
  const [epochs, setEpochs] = useState("3");
  const [reason, setReason] = useState("");
  const [preview, setPreview] = useState(null);
  const dry = useAction((id, body) => commands.retrain(model.name, id, body));
  const begin = useAction((id, body) => commands.retrain(model.name, id, body));

  if (unknown) return html`<${Problem} error=${unknown} />`;
  if (!schemas) return html`<${Empty}>Loading<//>`;
  const changed = changes(before, recipe);
  const body = { recipe: changed, edits, epochs: Number(epochs), reason, ...(race.length ? { race } : {}) };

  async function look() {
    setPreview(null);
    const found = await dry.run({ ...body, dry_run: true });
    if (found) setPreview(found);
  }

  async function go(event) {
    event.preventDefault();
    dry.forget();
    const begun = await begin.run(body);
    if (!begun) return;
    announce("The retrain has been queued.");
    setPreview(null);
    onBegun(begun.job_id);
    document.getElementById("content").scrollIntoView({ block: "start" });
  }

  return html`<form class="retrain" onSubmit=${go}>
    <${Card} title="Retrain">
      <p class="note">
        Trains a copy of the learner on the kept examples, beside the stream. It goes live only if the gate lets it pass. What is not changed
        here stays as the recipe has it.
      </p>
      <div class="fields">
        <${Field} label="Epochs" hint="How often to go through the kept examples">
          ${(tied) =>
            html`<input ...${tied} type="number" min="1" max="1000" required value=${epochs} onInput=${(event) => setEpochs(event.target.value)} />`}
        <//>
        <${Field} label="Reason" hint="Kept with the job and its events">
          ${(tied) => html`<input ...${tied} maxlength="1000" value=${reason} onInput=${(event) => setReason(event.target.value)} />`}
        <//>
      </div>
      <${Section} title="Recipe" count=${Object.keys(changed).length}>
        <div class="fields wide"><${SchemaFields} schemas=${schemas} properties=${schemas.properties({ $ref: "#/Recipe" })} value=${recipe} onChange=${setRecipe} /></div>
      <//>
      <${Section} title="Edits of the network" count=${edits.length}><${EditList} schemas=${schemas} edits=${edits} onChange=${setEdits} /><//>
      <${Section} title="Race" count=${race.length}><${RaceList} race=${race} onChange=${setRace} /><//>
      <details>
        <summary>What is sent</summary>
        <${Code} value=${body} label="What is sent" />
      </details>
      <${Problem} error=${dry.error} />
      <${Problem} error=${begin.error} again=${true} />
      ${preview && html`<${Preview} preview=${preview} />`}
      <div class="buttons">
        <${Button} busy=${dry.busy} onClick=${look}>What would it give?<//>
        <${Button} type="submit" kind="main" busy=${begin.busy}>Start the retrain<//>
      </div>
    <//>
  </form>`;
}

function Section({ title, count, children }) {
  return html`<details class="section">
    <summary>${title}${count > 0 && html` <span class="badge accent">${short(count)} changed</span>`}</summary>
    ${children}
  </details>`;
}

function useSchemas() {
  const [state, setState] = useState({});
  useEffect(() => {
    description().then(
      (openapi) => setState({ schemas: new Schemas(openapi) }),
      (error) => setState({ error }),
    );
  }, []);
  return state;
}

// A job, followed to its end.

import { useAction } from "./action.js";
import { announce } from "./announce.js";
import { path } from "./api.js";
import { cancelJob } from "./commands.js";
import { percent } from "./format.js";
import { html, useEffect, useRef } from "./html.js";
import { useLive } from "./live.js";
import { Report } from "./report.js";
import { Badge, Button, Problem } from "./ui.js";

const TONES = { queued: "neutral", running: "accent", succeeded: "good", failed: "bad", cancelled: "warn" };
const ENDED = new Set(["succeeded", "failed", "cancelled"]);

export function Job({ id, model, onEnd }) {
  const { data: job, error } = useLive(path("jobs", id), { every: 1.5, model, until: ({ state }) => ENDED.has(state) });
  const cancel = useAction(() => cancelJob(id));
  const isOver = job && ENDED.has(job.state);
  const wasRunning = useRef(false);
  useEffect(() => {
    if (!job) return;
    if (isOver && wasRunning.current) {
      announce(`The job has ${job.state}${outcome(job)}.`, job.state === "failed" ? "bad" : "good");
      onEnd?.(job);
    }
    wasRunning.current = !isOver;
  }, [isOver, !job]);

  if (!job) return html`<${Problem} error=${error} />`;
  const label = `Progress of job ${id}`;
  return html`<div class="job">
    <div class="job-head">
      <${Badge} tone=${TONES[job.state]}>${job.state}<//>
      <code>${id}</code>
      ${isOver && html`<span>${outcome(job)}</span>`}
      ${!isOver && html`<${Button} busy=${cancel.busy} onClick=${() => cancel.run({ id })}>Cancel the job<//>`}
    </div>
    ${!isOver &&
    html`<div class="progress">
      <progress max="1" value=${job.state === "queued" ? undefined : job.progress} aria-label=${label} /><span>${percent(job.progress ?? 0, 0)}</span>
    </div>`}
    <${Problem} error=${cancel.error ?? error} />
    <${Report} report=${job.report} />
  </div>`;
}

function outcome(job) {
  if (job.state !== "succeeded") return "";
  if (job.promoted) return job.version ? `: live as version ${job.version}` : ": promoted";
  return job.promoted === false ? ": not promoted" : "";
}

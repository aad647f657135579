"""What a step has done, as events that are committed with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from driftline.learning.monitoring.monitor import Alarm
from driftline.learning.promotion.gate import Decision
from driftline.learning.step_result import StepResult
from driftline.records import Command
from driftline.store.alarms import over, raised
from driftline.store.commits import JobRecord
from driftline.store.erasure import FORGET
from driftline.store.events import EventRecord
from driftline.versions import Position

from .commands import Effect
from .publishing import Publication

WORKER = "worker"
"""The actor of what a worker does by itself."""
JOB_STATES = {
    "running": "has begun",
    "succeeded": "has succeeded",
    "failed": "has failed",
    "cancelled": "was cancelled",
}


def step_events(
    result: StepResult, effect: Effect, publication: Publication, at: Position, covered: int
) -> list[EventRecord]:
    """The events of a step that reaches ``at``; versions have covered the log up to offset ``covered`` before it."""
    return [
        *(over(kind) for kind in result.over),
        *(alarm_event(alarm) for alarm in result.alarms),
        *(EventRecord("concept", returned.message, WORKER, details=returned.as_json()) for returned in result.returned),
        *_of_command(effect),
        *_of_version(result.decision, effect, publication, at, covered),
        # A job that goes on has begun before.
        *(_of_job(job, effect, publication) for job in effect.jobs if job.state != "running" or job.report is None),
    ]


def alarm_event(alarm: Alarm) -> EventRecord:
    """The event of an alarm that the learner has raised."""
    details = {name: value for name, value in alarm.as_json().items() if value and name not in ("kind", "message")}
    return raised(alarm.kind, alarm.message, **details)


def _of_command(effect: Effect) -> Iterator[EventRecord]:
    """A changed recipe. Commands that publish or that are jobs have events of their own; a pause has one since it was asked."""
    command = effect.command
    if command is not None and command.kind == FORGET:
        yield from _of_erasure(effect, command)
    if command is not None and command.kind in ("release", "drop"):
        done = "is trusted" if command.kind == "release" else "is dropped where it is kept"
        labeller = command.arguments["labeller"]
        details = {"decision": command.kind, "labeller": labeller}
        yield EventRecord("labeller", f"what {labeller} labels {done}", *_by(command), details=details)
    if command is not None and command.kind == "recipe":
        changes = command.arguments["recipe"]
        message = f"the recipe was changed: {', '.join(sorted(changes))}"
        yield EventRecord("recipe", message, *_by(command), details={"recipe": changes})


def _of_erasure(effect: Effect, command: Command) -> Iterator[EventRecord]:
    """What was forgotten: how much, and not what."""
    for job in effect.jobs:
        if job.state == "succeeded":
            report = job.report or {}
            details: dict[str, Any] = {
                name: report[name] for name in ("labels", "predictions", "relearned", "unlearned") if name in report
            }
            message = f"{report['labels']} labels and {report['predictions']} predictions were forgotten"
            yield EventRecord(FORGET, message, *_by(command), version=job.version, job=job.id, details=details)


def _of_version(
    decision: Decision | None, effect: Effect, publication: Publication, at: Position, covered: int
) -> Iterator[EventRecord]:
    version = publication.version
    if version is None:
        if decision is not None:
            yield EventRecord("refusal", _refused(decision), WORKER, decision.reason, scores=dict(decision.scores))
        return
    command = effect.command if effect.publish is not None else None
    kind = command.kind if command is not None else "rollback" if decision and decision.restored else "version"
    by = _by(command) if command is not None else (WORKER, version.reason)
    details: dict[str, Any] = {} if publication.share is None else {"canary": publication.share}
    if kind == "rollback" and command is not None:
        details["to"] = command.arguments["version"]
    yield EventRecord(
        kind,
        f"version {version.version} {_place(publication)}: {version.reason}",
        *by,
        version=version.version,
        parent=version.parent,
        records=(covered + 1, at.offset) if at.offset > covered else None,
        scores=dict(version.scores),
        details=details,
    )


def _place(publication: Publication) -> str:
    return "is live" if publication.share is None else f"answers {publication.share:.0%} as a canary"


def _refused(decision: Decision) -> str:
    what = "the canary" if decision.canary == "ended" else "a candidate"
    return f"{what} was refused: {decision.reason}"


def _of_job(job: JobRecord, effect: Effect, publication: Publication) -> EventRecord:
    """A job that has begun or ended; who asked for it stands in the event of its command."""
    report = job.report or {}
    why = str(report.get("reason", ""))
    version = publication.version.version if publication.version is not None and job.promoted else None
    message = f"job {job.id} {JOB_STATES[job.state]}" + (f": {why}" if why else "")
    by = _by(effect.command) if effect.command is not None else (WORKER, why)
    return EventRecord("job", message, *by, job=job.id, version=version, details={"state": job.state})


def _by(command: Command) -> tuple[str, str]:
    return command.actor or "system", command.reason

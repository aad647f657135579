"""Carries out an admin's command on a learner: when it is given, and again when its step is repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from driftline.errors import CorruptData, InvalidInput, NotFound
from driftline.learning.learner import Learner
from driftline.learning.retraining.plan import RetrainPlan
from driftline.learning.retraining.recipe_changes import named_versions
from driftline.records import Command, Item, Plan
from driftline.spec import ModelSpec, parse
from driftline.store.commits import JobRecord

from .compute import Compute
from .model_store import ModelStore


@dataclass(frozen=True)
class Effect:
    """What else the step of a command changes, besides the learner.

    ``publish`` is the reason for which the learner's weights become a version without the gate. With ``needs_checkpoint`` a
    checkpoint follows, so that recovery does not repeat the command. ``command`` is the one that is carried out.
    """

    jobs: list[JobRecord] = field(default_factory=list)
    publish: str | None = None
    paused: bool | None = None
    is_new_spec: bool = False
    needs_checkpoint: bool = False
    command: Command | None = None


def must_wait(learner: Learner, command: Command, is_forgetting: bool) -> bool:
    """Whether the command cannot be carried out yet: one retrain job runs at a time, and none before what is forgotten is."""
    return command.kind == "retrain" and (is_forgetting or learner.retraining is not None)


async def carry_out(
    store: ModelStore,
    compute: Compute,
    learner: Learner,
    command: Command,
    offset: int,
    plan: Plan,
    is_kept: Callable[[Item], bool] = lambda item: True,
) -> Effect:
    """Carries out a command on the learner. The plan names the version that it publishes and the job that it ends.

    ``is_kept`` says which items of the log a retrain may learn.

    Raises:
        InvalidInput, NotFound, CorruptData: it cannot be done; the learner is as it was.
    """
    arguments = command.arguments
    match command.kind:
        case "retrain":
            examples = [item for item in await store.log.latest(offset, store.settings.log_keep) if is_kept(item)]
            return await _retrain(store, compute, learner, command, examples)
        case "cancel":
            return _cancel(learner, arguments["job"])
        case "rollback":
            return await _rollback(store, compute, learner, arguments["version"], plan)
        case "promote":
            return await _promote(compute, learner, plan)
        case "recipe":
            recipe = arguments["recipe"]
            await compute(learner.change_recipe, recipe, await store.weights_of(named_versions(recipe)))
            # A running job has made some of its updates with the former recipe: they cannot be repeated with this one.
            return Effect(is_new_spec=True, needs_checkpoint=learner.retraining is not None)
        case "pause" | "resume":
            return Effect(paused=command.kind == "pause")
        case "release" | "drop":
            decide = learner.release if command.kind == "release" else learner.drop
            await compute(decide, arguments["labeller"])
            return Effect()
        case "compare" | "forget":
            # A comparison only measures, and of what is forgotten a checkpoint has the state: repeated, both do nothing.
            return Effect()
    raise InvalidInput(f"this worker does not know the command {command.kind!r}", field="kind", value=command.kind)


async def _retrain(
    store: ModelStore, compute: Compute, learner: Learner, command: Command, examples: list[Item]
) -> Effect:
    arguments: dict[str, Any] = command.arguments
    recipe, edits, epochs = arguments["recipe"], arguments["edits"], arguments["epochs"]
    race = arguments.get("race", [])
    versions = await store.weights_of(RetrainPlan.of(learner.spec, recipe, edits, race).versions)
    await compute(learner.retrain, command.id, recipe, edits, epochs, examples, versions, race)
    return Effect(jobs=[JobRecord(command.id, "running")], needs_checkpoint=True)


async def _promote(compute: Compute, learner: Learner, plan: Plan) -> Effect:
    reason = "promoted by an admin"
    if plan.finish is None:
        await compute(learner.promote, plan.version)
        return Effect(publish=reason, needs_checkpoint=True)
    await compute(learner.finish, plan.version, True)
    job = JobRecord(plan.finish, "succeeded", 1.0, True, report={"reason": reason})
    return Effect(jobs=[job], publish=reason, is_new_spec=True, needs_checkpoint=True)


def _cancel(learner: Learner, job: str) -> Effect:
    if learner.retraining is None or learner.retraining.job != job:
        return Effect()
    learner.cancel()
    return Effect(jobs=[JobRecord(job, "cancelled")])


async def _rollback(store: ModelStore, compute: Compute, learner: Learner, number: int, plan: Plan) -> Effect:
    running = learner.retraining
    version = await store.commit_log.version(number)
    manifest, state = await compute(store.version_files.read, version.manifest)
    spec = parse(ModelSpec, manifest.spec)
    await compute(learner.rollback, spec, manifest.classes, state.tensors, plan.version)
    jobs = (
        [JobRecord(running.job, "cancelled", report={"reason": f"rolled back to version {number}"})] if running else []
    )
    return Effect(jobs=jobs, publish=f"rolled back to version {number}", is_new_spec=True, needs_checkpoint=True)


JOBS = ("compare", "forget", "retrain")
"""The kinds of commands that are jobs: each ends with a report."""
REFUSALS = (InvalidInput, NotFound, CorruptData)

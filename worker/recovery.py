"""Recovery of a learner: load the checkpoint, repeat the committed steps after it, compare the digests."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from driftline.errors import CorruptData, DriftlineError, NotFound
from driftline.learning.learner import Learner
from driftline.learning.retraining.recipe_changes import named_versions
from driftline.networks import bundle
from driftline.networks.build import build
from driftline.networks.own_code import own_code
from driftline.networks.sealed import release
from driftline.records import Command, Item
from driftline.spec import ModelSpec, parse
from driftline.spec.classes import are_in_place, class_indices
from driftline.store.commits import Checkpoint, Head, Step
from driftline.store.events import EventRecord, happen
from driftline.support.memory import give_back

from .commands import carry_out
from .compute import Compute
from .model_store import ModelStore

MODULE = "course.state.module"
"""How the names of the tensors of a learner's module begin in its state."""

logger = logging.getLogger("driftline.recovery")


@dataclass(frozen=True)
class Recovered:
    """A learner in the state of the head. ``is_restarted``: from the live weights, as steps could not be repeated."""

    learner: Learner
    head: Head
    paused: bool
    is_restarted: bool = False


class Diverged(DriftlineError):
    """A repeated step gave other weights than at first."""

    default_code = "recovery_diverged"


async def recover(store: ModelStore, compute: Compute) -> Recovered:
    """The learner in the state after the last committed step.

    The newest checkpoint that is whole is taken, else the one before, else version 1. Where none leads to the committed
    weights, an alarm says so, and the learner restarts from the live ones.
    """
    await store.connection.time()
    head = await store.commit_log.head()
    paused = await store.is_paused()
    await _compare_with_files(store, head)
    places = dict.fromkeys([head.checkpoint, head.older_checkpoint, None])
    for place in places:
        try:
            return Recovered(await repeat(store, compute, head, place), head, paused)
        except Diverged as error:
            await store.alarm("recovery_diverged", error.message)
            break
        except (CorruptData, NotFound) as error:
            await store.alarm("recovery_failed", error.message)
            logger.error("model %s: %s", store.uid, error)
    return Recovered(await _restart(store, compute, head), head, paused, is_restarted=True)


async def _compare_with_files(store: ModelStore, head: Head) -> None:
    """Files of steps that the store does not know mean that an older copy of it was restored: raises an alarm."""
    newest = await asyncio.to_thread(store.version_files.newest_step)
    # The files of a step are written before the commit: those of one uncommitted step may exist.
    if newest > head.step + 1:
        why = (
            f"the store knows {head.step} steps and the files go up to step {newest}: an older copy of the store has been "
            "restored; labels that were acknowledged after it are not in it, send them again"
        )
        logger.warning("model %s: %s", store.uid, why)
        await store.alarm("store_older", why)


async def repeat(store: ModelStore, compute: Compute, head: Head, place: Checkpoint | None) -> Learner:
    manifest, learner = await compute(load_checkpoint, store, place) if place else await first_learner(store, compute)
    await _tell_of_another_build(store, learner, manifest)
    step_number = place.step if place else 0
    while step_number < head.step:
        for step in (steps := await store.commit_log.steps(step_number)):
            await _apply(store, compute, learner, step)
            if step.digest != await compute(learner.digest) and step.digest != await compute(learner.former_digest):
                raise Diverged(_divergence(step, manifest.build))
        if not steps:
            raise CorruptData(f"step {step_number + 1} is missing", code="step_gap")
        step_number = steps[-1].k
    return learner


async def _apply(store: ModelStore, compute: Compute, learner: Learner, step: Step) -> None:
    """Repeats one step."""
    plan = step.plan
    if plan.set_aside is not None:
        return
    if plan.command is not None:
        await _carry_out_again(store, compute, learner, plan.command, step)
    elif plan.finish is not None:
        await compute(learner.finish, plan.version)
    elif plan.abandon is not None:
        learner.cancel()
    else:
        await _learn_again(store, compute, learner, step)


async def _learn_again(store: ModelStore, compute: Compute, learner: Learner, step: Step) -> None:
    records = await store.records(step.start, step.end)
    if len(records) != step.end - step.start:
        raise CorruptData(f"the log lacks records of step {step.k}", code="log_gap", step=step.k)
    items = [(n, record) for n, record in records if isinstance(record, Item)]
    await compute(learner.learn, [item for _, item in items], [n for n, _ in items], step.plan)


async def _carry_out_again(store: ModelStore, compute: Compute, learner: Learner, n: int, step: Step) -> None:
    entry = await store.log.get(n)
    if entry is None or not isinstance(entry.record, Command):
        raise CorruptData(f"the command {n} is missing in the log", code="log_gap", n=n)
    await carry_out(store, compute, learner, entry.record, step.start, step.plan)


def load_checkpoint(store: ModelStore, place: Checkpoint) -> tuple[bundle.Manifest, Learner]:
    """A checkpoint's manifest, and the learner that is in it; :class:`CorruptData` where a file is damaged."""
    files, factories = store.version_files, store.settings.factories
    manifest = files.manifest(place.manifest)
    module = build(parse(ModelSpec, manifest.spec), manifest.classes, factories=factories, seed=0)
    # The state takes the place of the module's own numbers, and does not stand beside them.
    module_names = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    release(module, {name for name in module_names if f"{MODULE}.{name}" in manifest.tensors})
    if manifest.tensors:
        give_back()
    return manifest, Learner.from_state(files.state(manifest), factories=factories, module=module)


async def first_learner(
    store: ModelStore, compute: Compute, written: str | None = None
) -> tuple[bundle.Manifest, Learner]:
    """The manifest of version 1, and the learner before its first label; :class:`NotFound` where version 1 is not kept.

    ``written`` is the manifest's digest, where it is known.
    """
    manifest, state = store.version_files.read(written or (await store.commit_log.version(1)).manifest)
    spec = parse(ModelSpec, manifest.spec)

    def create() -> Learner:
        return Learner.create(spec, seed=store.seed, weights=state.tensors, factories=store.settings.factories)

    return manifest, await compute(create)


async def _restart(store: ModelStore, compute: Compute, head: Head) -> Learner:
    manifest, state = store.version_files.read(head.manifest)
    spec = parse(ModelSpec, manifest.spec)
    versions = await _named(store, manifest.spec["recipe"])
    ordered_since = await _ordered_since(store, manifest.classes)

    def restart() -> Learner:
        learner = Learner.create(spec, seed=store.seed, factories=store.settings.factories)
        learner.rollback(spec, manifest.classes, state.tensors, head.version)
        learner.ordered_since = ordered_since
        learner.course.weight_hooks.remember(versions)
        return learner

    return await compute(restart)


async def _ordered_since(store: ModelStore, classes: list[int | str]) -> int:
    """The first version from which on all versions have these classes in this order."""
    for version in reversed(await store.commit_log.versions()):
        try:
            manifest, _ = await asyncio.to_thread(store.version_files.read, version.manifest)
        except (CorruptData, NotFound):
            return version.version + 1
        if not are_in_place(class_indices(manifest.classes, classes)):
            return version.version + 1
    return 0


async def _named(store: ModelStore, recipe: dict[str, Any]) -> dict[int, dict[str, Tensor]]:
    """The weights of the versions that a recipe names; empty, with an alarm, where they are lost."""
    try:
        return await store.weights_of(named_versions(recipe))
    except (CorruptData, NotFound) as error:
        await store.alarm("recovery_failed", f"the recipe's l2_sp pulls nowhere: {error.message}")
        return {}


async def _tell_of_another_build(store: ModelStore, learner: Learner, manifest: bundle.Manifest) -> None:
    """Says that whoever wrote the manifest had another build: the same labels may give other weights here."""
    changes, code = bundle.build_changes(manifest.build), own_code(learner.spec)
    changes += [f"another {name}" for name, digest in code.items() if manifest.code.get(name, digest) != digest]
    if changes:
        message = f"the model {learner.spec.name} is learned on with another build than before: {', '.join(changes)}"
        logger.warning("%s", message)
        token = hashlib.sha256(f"{store.uid} {message}".encode()).hexdigest()[:16]
        await happen(store.connection, f"build:{token}", EventRecord("worker", message, "worker"))


def _divergence(step: Step, build: dict[str, object]) -> str:
    here = bundle.this_build()
    cause = "on the same build" if here == build else f"on another build: {here}, then {build}"
    return f"step {step.k} gave other weights when it was repeated {cause}; learning restarts from the live version"

"""Prepares the version that a step publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import Decision
from driftline.learning.step_result import StepResult
from driftline.networks.model import Model
from driftline.store.commits import Head, Version
from driftline.support.failpoints import reach
from driftline.versions import Position

from .commands import Effect
from .compute import Compute
from .model_store import ModelStore


@dataclass(frozen=True)
class Publication:
    """``version`` goes live; with a ``share`` it is a canary, which answers only that part of the traffic.

    ``ends_canary``: a former canary stops answering.
    """

    version: Version | None = None
    share: float | None = None
    ends_canary: bool = False


async def prepare(
    store: ModelStore,
    compute: Compute,
    learner: Learner,
    head: Head,
    at: Position,
    result: StepResult,
    effect: Effect,
) -> Publication:
    """Writes the files of the version that a command or the gate wants to be served; the commit then makes it live.

    It does not change the learner, so it can be called again if the store or the disk did not answer.
    """
    decision = result.decision
    report = next((job.report for job in effect.jobs if job.promoted), None)

    async def written(reason: str, scores: Mapping[str, float], is_canary: bool = False) -> Version:
        # A mean of weights has to be made. All else is at hand, and needs no turn.
        has_mean = learner.course.averaging is not None
        model = await compute(_model, learner, is_canary) if has_mean else _model(learner, is_canary)
        # The learner goes on once the step is committed: until then its tensors stay as they are.
        write = store.version_files.write_version
        version = await asyncio.to_thread(write, model, head.newest + 1, head.version, at, reason, scores)
        reach("trainer.published")
        return msgspec.structs.replace(version, report=report)

    if effect.publish is not None:
        return Publication(await written(effect.publish, {}))
    if decision is None:
        return Publication()
    if decision.canary == "ended":
        return Publication(await _canary(store, head, decision) if decision.promoted else None, ends_canary=True)
    if not decision.publishes:
        return Publication()
    is_canary = decision.canary == "begun"
    version = await written(decision.reason, decision.scores, is_canary)
    return Publication(version, learner.spec.recipe.gate.share if is_canary else None)


def _model(learner: Learner, is_canary: bool) -> Model:
    canary = learner.promotion.canary
    module = canary.module if is_canary and canary else learner.served
    return Model(learner.spec, learner.classes_of(module), module)


async def _canary(store: ModelStore, head: Head, decision: Decision) -> Version:
    """The version that answers as a canary, with the decision on it."""
    assert head.canary is not None
    version = await store.commit_log.version(head.canary.version)
    return msgspec.structs.replace(version, reason=decision.reason, scores=decision.scores)

"""What a step publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from driftline.learning.promotion.gate import Decision
from driftline.learning.step_result import StepResult
from driftline.store.commits import Version
from driftline.support.failpoints import reach
from driftline.versions import Position

from .commands import Effect

if TYPE_CHECKING:
    from .trainer import Trainer


@dataclass(frozen=True)
class Publication:
    """``version`` goes live; with a ``share`` it answers only that of the traffic, as a canary. A former canary may end."""

    version: Version | None = None
    share: float | None = None
    ends_canary: bool = False


async def prepare(trainer: Trainer, outcome: StepResult, effect: Effect, at: Position) -> Publication:
    """Writes the files of what a command or the gate wants to be served; the commit of the step makes it true."""
    decision = outcome.decision
    report = next((job.report for job in effect.jobs if job.promoted), None)
    if effect.publish is not None:
        return Publication(await _written(trainer, at, effect.publish, {}, report))
    if decision is None:
        return Publication()
    if decision.canary == "ended":
        return Publication(await _canary(trainer, decision) if decision.promoted else None, ends_canary=True)
    if not decision.publishes:
        return Publication()
    is_canary = decision.canary == "begun"
    version = await _written(trainer, at, decision.reason, decision.scores, report, is_canary)
    return Publication(version, trainer.learner.spec.recipe.gate.share if is_canary else None)


async def _written(
    trainer: Trainer,
    at: Position,
    reason: str,
    scores: Mapping[str, float],
    report: dict[str, Any] | None,
    is_canary: bool = False,
) -> Version:
    number, parent = trainer.head.newest + 1, trainer.head.version
    arguments = (trainer.learner, number, parent, at, reason, scores, is_canary)
    version = await trainer.retry_until_available(lambda: trainer.compute(trainer.store.publisher.version, *arguments))
    reach("trainer.published")
    return msgspec.structs.replace(version, report=report)


async def _canary(trainer: Trainer, decision: Decision) -> Version:
    """The version that answers as a canary, with what has been decided of it."""
    assert trainer.head.canary is not None
    number = trainer.head.canary.version
    version = await trainer.retry_until_available(lambda: trainer.store.commit_log.version(number))
    return msgspec.structs.replace(version, reason=decision.reason, scores=decision.scores)

"""How a model learns: strategy, loss, optimizer, replay, trigger, detectors and gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field

from driftline.spec.parse import Frozen
from driftline.spec.parts.averaging import AVERAGINGS, Averaging
from driftline.spec.parts.detectors import DETECTORS, Detector, InputDetector
from driftline.spec.parts.distillation import Distillation
from driftline.spec.parts.hooks import L2SP, MaxNorm, Refresh, Repair, ShrinkAndPerturbOnAlarm, WeightHook
from driftline.spec.parts.losses import LOSSES, Loss
from driftline.spec.parts.optimizer import Optimizer
from driftline.spec.parts.replay_policies import REPLAY_POLICIES, ReplayPolicy
from driftline.spec.parts.strategies import STRATEGIES, Strategy

if TYPE_CHECKING:
    AveragingField: TypeAlias = Averaging
    DetectorField: TypeAlias = Detector
    LossField: TypeAlias = Loss
    MemoryField: TypeAlias = ReplayPolicy
    StrategyField: TypeAlias = Strategy
else:
    AveragingField, DetectorField = AVERAGINGS.field(), DETECTORS.field()
    LossField, MemoryField, StrategyField = LOSSES.field(), REPLAY_POLICIES.field(), STRATEGIES.field()


class Trigger(Frozen):
    """When waiting labels are learned: at so many, or once the oldest has waited so long (seconds).

    After an alarm that is answered with ``faster``, so many labels as ``alarm`` says are learned as they come.
    """

    labels: int = Field(32, ge=1, le=1_000_000)
    seconds: float = Field(0.1, ge=0, le=86_400)
    alarm: int = Field(512, ge=0, le=1_000_000)


class Gate(Frozen):
    """What a candidate must pass.

    ``auto`` compares it with the champion; ``manual`` waits for an admin to promote it; ``canary`` lets it answer the ``share``
    of the traffic, until ``labels`` of its answers have been labelled; ``off`` promotes every finite one. ``holdout`` is the
    share of records kept from training for the comparison, ``holdout_size`` how many are kept at most.
    """

    mode: Literal["auto", "manual", "canary", "off"] = "auto"
    holdout: float = Field(0.05, ge=0, le=0.5)
    holdout_size: int = Field(500, ge=0, le=100_000)
    share: float = Field(0.1, gt=0, le=0.5)
    labels: int = Field(100, ge=10, le=100_000)


class Recipe(Frozen):
    """How a model learns.

    ``updates`` is how many gradient updates a full step makes when nothing is waiting, and a smaller one its share; with a
    backlog a step makes one.

    ``on_alarm`` is what follows a drift alarm beside telling it: ``faster`` learns the next labels as they come, ``shorten``
    keeps in memory only what has come since the change, ``retrain`` begins a job over that.
    """

    strategy: StrategyField | None = Field(None, description="default: experts, for regression replay")
    loss: LossField | None = Field(None, description="default: cross_entropy, for regression huber")
    distillation: Distillation | None = None
    optimizer: Optimizer = Optimizer()
    batch_size: int = Field(32, ge=1, le=4096)
    updates: int = Field(4, ge=1, le=1000)
    memory: MemoryField = Field(default_factory=lambda: REPLAY_POLICIES.parse({}))
    trigger: Trigger = Trigger()
    detector: DetectorField = Field(default_factory=lambda: DETECTORS.parse("adwin"))
    input_detector: InputDetector | None = InputDetector()
    on_alarm: Literal["tell", "faster", "shorten", "retrain"] = "faster"
    gate: Gate = Gate()
    averaging: AveragingField | None = None
    l2_sp: L2SP | None = None
    max_norm: MaxNorm | None = None
    refresh: Refresh | None = None
    shrink_and_perturb: ShrinkAndPerturbOnAlarm | None = None
    sanitize: Literal["refuse", "repair"] = "refuse"

    @property
    def weight_hooks(self) -> list[WeightHook]:
        """What happens to the weights beside the gradient, in this order."""
        repair = Repair() if self.sanitize == "repair" else None
        given = (self.l2_sp, self.shrink_and_perturb, self.refresh, self.max_norm, repair)
        return [hook for hook in given if hook is not None]

    def reclassed(self, indices: Sequence[int | None]) -> Recipe:
        """This recipe for classes with other indices (:func:`driftline.spec.classes.class_indices`)."""
        loss = self.loss.reclassed(indices) if self.loss is not None else None
        return self if loss == self.loss else self.model_copy(update={"loss": loss})

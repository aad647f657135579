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
from driftline.spec.parts.trust import LabellerTrust

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

    labels: int = Field(32, ge=1, le=1_000_000, description="labels at which waiting ones are learned")
    seconds: float = Field(0.1, ge=0, le=86_400, description="how long the oldest may wait")
    alarm: int = Field(
        512,
        ge=0,
        le=1_000_000,
        description="labels that are learned as they come, after an alarm that `faster` answers",
    )


class Gate(Frozen):
    """What a candidate must pass.

    ``auto`` compares it with the champion; ``manual`` waits for an admin to promote it; ``canary`` lets it answer the ``share``
    of the traffic, until ``labels`` of its answers have been labelled; ``off`` promotes every finite one. ``holdout`` is the
    share of records kept from training for the comparison, ``holdout_size`` how many are kept at most.
    """

    mode: Literal["auto", "manual", "canary", "off"] = Field(
        "auto", description="what decides whether a candidate goes live"
    )
    holdout: float = Field(0.05, ge=0, le=0.5, description="the share of records that is kept from training")
    holdout_size: int = Field(500, ge=0, le=100_000, description="the most records that are kept from training")
    share: float = Field(0.1, gt=0, le=0.5, description="the share of traffic that a canary answers")
    labels: int = Field(100, ge=10, le=100_000, description="labelled answers after which a canary is judged")


class Recipe(Frozen):
    """How a model learns.

    ``updates`` is how many gradient updates a full step makes when nothing is waiting, and a smaller one its share; with a
    backlog a step makes one.

    ``on_alarm`` is what follows a drift alarm beside telling it: ``faster`` learns the next labels as they come, ``shorten``
    keeps in memory only what has come since the change, ``retrain`` begins a job over that.

    ``decide`` says which class is answered. ``balanced`` corrects the probabilities by how common each class has been, so that
    a rare one is found as often as a common one; what is answered as probabilities stays what it is.
    """

    strategy: StrategyField | None = Field(None, description="default: experts")
    loss: LossField | None = Field(None, description="default: cross_entropy, for regression huber")
    distillation: Distillation | None = Field(None, description="what is learned from a former version's answers")
    optimizer: Optimizer = Field(Optimizer(), description="how the weights follow the gradient")
    batch_size: int = Field(32, ge=1, le=4096, description="the most labels that are learned at once")
    updates: int = Field(4, ge=1, le=1000, description="gradient updates of a full step when nothing is waiting")
    memory: MemoryField = Field(
        default_factory=lambda: REPLAY_POLICIES.parse({}), description="which examples are kept for replay"
    )
    trigger: Trigger = Field(Trigger(), description="when waiting labels are learned")
    detector: DetectorField = Field(
        default_factory=lambda: DETECTORS.parse("adwin"), description="what notices that the error has risen"
    )
    input_detector: InputDetector | None = Field(
        InputDetector(), description="what notices that the inputs have moved; null: nothing"
    )
    on_alarm: Literal["tell", "faster", "shorten", "retrain"] = Field(
        "faster", description="what follows a drift alarm"
    )
    gate: Gate = Field(Gate(), description="what a candidate must pass")
    averaging: AveragingField | None = Field(
        None, description="a mean of weights that is served in place of the newest"
    )
    l2_sp: L2SP | None = Field(None, description="a pull of the weights to those of a version")
    max_norm: MaxNorm | None = Field(None, description="a limit of the weights into a unit")
    refresh: Refresh | None = Field(None, description="new units in place of useless ones")
    shrink_and_perturb: ShrinkAndPerturbOnAlarm | None = Field(
        None, description="what a drift alarm does to the weights"
    )
    sanitize: Literal["refuse", "repair"] = Field(
        "refuse", description="what happens to weights that are no finite numbers"
    )
    trust: LabellerTrust = Field(
        LabellerTrust(),
        exclude_if=lambda trust: trust == LabellerTrust(),
        description="what happens to labels of a labeller that departs from the others",
    )
    decide: Literal["accuracy", "balanced"] = Field(
        "accuracy",
        exclude_if=lambda decide: decide == "accuracy",
        description="which class is answered: the most probable, or the one that is most so beside how common it is",
    )

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

"""The gate: whether a candidate takes the champion's place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.networks.label_errors import hamming_losses
from driftline.networks.served_model import ServedModel, evaluating

MIN_COMPARED = 10
"""Fewer rows cannot tell a loss from chance."""
STANDARD_ERRORS = 2.0
NOTHING = "nothing to compare on yet"
MAX_ERROR = torch.finfo(torch.float32).max
"""The error of an answer that is not finite."""


@dataclass(frozen=True)
class GateLimits:
    """How many labels the gate takes for what.

    Args:
        first_labels: until so many are learned every finite candidate is promoted.
        min_held_out: held-out labels from which on they are compared on beside the latest ones; where there is nothing else,
            ``MIN_COMPARED`` are enough.
        labels_between: labels from one comparison to the next.
        anchor_labels: labels after which the champion becomes the anchor, against which small losses add up.
        rejected_window: the newest labels that decide a streak of rejections.
        max_rejected: labels after which such a streak ends, whatever they say.
        watched: labels for which a new champion is watched by its predecessor.
        watch_standard_errors: by how many standard errors the predecessor must be better to come back: it is asked after
            each step.
    """

    first_labels: int = 30
    min_held_out: int = 30
    labels_between: int = 64
    anchor_labels: int = 1000
    rejected_window: int = 500
    max_rejected: int = 1000
    watched: int = 500
    watch_standard_errors: float = 3.0


Judgement: TypeAlias = Literal["better", "not worse", "worse", "not judged"]


@dataclass(frozen=True)
class Decision:
    """Whether a candidate was promoted, why, and the scores that decided.

    ``restored`` says that a former champion takes back the place of what is served. ``canary`` says what becomes of a
    candidate that answers a share of the traffic. ``judgement`` is what a comparison has shown beyond chance, if there was one.
    """

    promoted: bool
    reason: str
    scores: Mapping[str, float] = field(default_factory=dict)
    restored: bool = False
    canary: Literal["begun", "ended"] | None = None
    judgement: Judgement = "not judged"

    @property
    def publishes(self) -> bool:
        """Whether a version comes of it."""
        return self.promoted or self.restored or self.canary == "begun"

    @property
    def is_unjudged(self) -> bool:
        """Whether a candidate goes live that no comparison has judged."""
        return self.promoted and not self.restored and self.judgement == "not judged"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "scores": dict(self.scores)}


@dataclass(frozen=True)
class Comparison:
    """Errors of a candidate and of the one that it is compared with, on the same rows ``[rows]``, and whose they are."""

    name: str
    candidate: Tensor
    other: Tensor
    names: tuple[str, str] = ("candidate", "champion")

    def __len__(self) -> int:
        return len(self.candidate)

    @property
    def is_worse(self) -> bool:
        """Whether the candidate errs more, by more than two standard errors of the paired difference."""
        return self.exceeds(STANDARD_ERRORS)

    @property
    def is_beyond_chance(self) -> bool:
        """Whether either errs more, by more than two standard errors of the paired difference."""
        return self.is_worse or Comparison(self.name, self.other, self.candidate).is_worse

    @property
    def standard_error(self) -> float:
        """Of the mean of the paired difference; not a number for less than two rows."""
        return float(self._difference.std()) / math.sqrt(len(self))

    @property
    def _difference(self) -> Tensor:
        return (self.candidate - self.other).double()

    def exceeds(self, standard_errors: float) -> bool:
        """Whether the candidate errs more, by more than so many standard errors of the paired difference."""
        if len(self) < MIN_COMPARED:
            return False
        return float(self._difference.mean()) > standard_errors * self.standard_error

    def scores(self) -> dict[str, float]:
        return {
            f"{self.name}_rows": len(self),
            f"{self.name}_error": float(self.candidate.double().mean()),
            f"{self.name}_other_error": float(self.other.double().mean()),
        }

    def __str__(self) -> str:
        ours, others = float(self.candidate.double().mean()), float(self.other.double().mean())
        own, other = self.names
        return f"the {own} errs {ours:.3f}, the {other} {others:.3f}, on {len(self)} {self.name}"


@torch.no_grad()
def errors(module: ServedModel, examples: Examples, in_order: bool = True) -> Tensor:
    """The error of each row ``[rows]``: 0 or 1; of a multi-label model the share of classes that it is wrong about; or the
    absolute error in the target's own units, of several outputs the mean of :meth:`ServedModel.errors
    <driftline.networks.served_model.ServedModel.errors>`. It is finite.

    ``in_order``: the rows come directly after what the module has learned. Held-out rows do not: a member that follows the
    newest label would be right or wrong on them by chance.
    """
    if not len(examples):
        return torch.zeros(0)
    outputs = evaluating(module).predict(examples.inputs, in_order)
    return errors_of(module, outputs, module.positions(examples.targets))


def errors_of(module: ServedModel, outputs: Tensor, targets: Tensor) -> Tensor:
    """What :func:`errors` gives, of answers: probabilities ``[rows, classes]``, or values ``[rows, outputs]``."""
    if module.is_regression:
        return torch.nan_to_num(module.errors(outputs, targets), nan=MAX_ERROR)
    if module.is_multilabel:
        return hamming_losses(outputs, targets)
    if not outputs.shape[1]:
        return torch.ones(len(targets))
    return ((module.decided(outputs) != targets) | outputs.isnan().any(1)).float()


def class_shares(targets: Tensor) -> Tensor:
    """How much each row counts ``[rows]`` where each class among ``targets`` ``[rows]`` counts alike; 1 on average."""
    _, places, counts = torch.unique(targets, return_inverse=True, return_counts=True)
    return len(targets) / (len(counts) * counts[places].float()) if len(targets) else torch.ones(0)


def decide(comparisons: list[Comparison]) -> Decision:
    """Rejects a candidate that is worse in any comparison; all else is promoted, so that learning goes on.

    What too few rows say, which cannot tell a loss from chance, is no judgement.
    """
    held = [comparison for comparison in comparisons if len(comparison)]
    scores = {name: value for comparison in held for name, value in comparison.scores().items()}
    worse = [comparison for comparison in held if comparison.is_worse]
    if worse:
        return Decision(False, "worse: " + "; ".join(map(str, worse)), scores, judgement="worse")
    what = "; ".join(map(str, held))
    if not any(len(comparison) >= MIN_COMPARED for comparison in held):
        return Decision(True, "promoted unjudged: " + (f"too little to judge by: {what}" if held else NOTHING), scores)
    judgement: Judgement = "better" if any(comparison.is_beyond_chance for comparison in held) else "not worse"
    return Decision(True, f"{judgement}: {what}", scores, judgement=judgement)

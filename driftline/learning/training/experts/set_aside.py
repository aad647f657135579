"""Members of a mixture that give no numbers any more: they begin again, and the mixture goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from driftline.learning.training.experts.bank import NAMES, BankLearner
from driftline.learning.training.experts.least_squares import LeastSquares
from driftline.learning.training.experts.mixture import MixtureLearner
from driftline.learning.training.experts.regression import RegressionLearner


@torch.no_grad()
def set_aside(learner: MixtureLearner | RegressionLearner, generator: torch.Generator) -> list[str]:
    """Lets members begin again of which a number is not finite; what they are called. The newest rows are learned at once.

    Args:
        generator: what new weights are drawn from.
    """
    found = [*_networks(learner.bank, generator)]
    trees = learner.trees
    if trees is not None and not _are_finite(trees.trees.values, trees.trees.base, trees.sums):
        trees.restart(learner.rows[: learner.filled])
        found.append("boosted trees")
    of_task = _of_classes(learner) if isinstance(learner, MixtureLearner) else _of_values(learner)
    return [*found, *of_task, *_weights(learner)]


def _networks(bank: BankLearner, generator: torch.Generator) -> Iterator[str]:
    """A bank's networks, one by one."""
    parts = [getattr(bank.bank, name) for name in NAMES]
    known = torch.cat([part.flatten(1) for part in parts], 1)
    for place, is_well in enumerate(
        (known.isfinite() & bank.first.isfinite() & bank.second.isfinite()).all(1).tolist()
    ):
        if is_well:
            continue
        for part in parts:
            part[place] = 0
        shape = bank.bank.hidden.shape[1:]
        bank.bank.hidden[place] = torch.randn(shape, generator=generator) * math.sqrt(2 / shape[0])
        bank.first[place] = bank.second[place] = 0
        yield "small networks"


def _of_classes(learner: MixtureLearner) -> Iterator[str]:
    ridge, neighbours = learner.ridge, learner.mixture.neighbours
    if _are_finite(ridge.ridge.heads, ridge.gram, ridge.moment):
        return
    for value in (ridge.ridge.heads, ridge.gram, ridge.moment):
        value.zero_()
    kept = neighbours.newest(learner.filled)
    ridge.learn(learner.encoded_rows(kept), neighbours.targets[kept], learner.weights[kept])
    learner.unsolved = 0
    yield "linear regressions"


def _of_values(learner: RegressionLearner) -> Iterator[str]:
    autoregressive = None if learner.autoregressive is None else learner.autoregressive.sums
    for sums, name in (
        (learner.encoded, "regressions on encoded rows"),
        (learner.linear, "linear regressions"),
        (autoregressive, "autoregressions"),
    ):
        if sums is None or _are_finite(sums.linear.heads, sums.gram, sums.moment, sums.penalty):
            continue
        _begin_again(sums)
        if sums is not autoregressive:
            learner.solve(sums, learner.mixture.neighbours.newest(learner.filled))
        yield name


def _begin_again(sums: LeastSquares) -> None:
    sums.forget()
    sums.linear.heads.zero_()
    sums.penalty.fill_(1.0)


def _weights(learner: MixtureLearner | RegressionLearner) -> Iterator[str]:
    """What says whom to trust: all alike, where it is no number."""
    mixture = learner.mixture
    measured = [learner.losses] if isinstance(learner, MixtureLearner) else [learner.losses, learner.errors]
    if _are_finite(mixture.weights, mixture.trust, *measured):
        return
    mixture.weights.fill_(1 / mixture.members)
    mixture.trust.fill_(1 / mixture.trust.shape[-1])
    for value in measured:
        value.zero_()
    if isinstance(learner, RegressionLearner):
        learner.scored = 0.0
    yield "weights"


def _are_finite(*values: Tensor) -> bool:
    return all(bool(value.isfinite().all()) for value in values)

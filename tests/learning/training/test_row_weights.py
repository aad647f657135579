"""The weight of a row is a law to the mixture and all its members: a row of weight 0 changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from driftline.learning.training.experts.mixture import MixtureLearner
from driftline.networks.experts.mixture import Mixture


class Taught:
    """A mixture that is taught rows with weights, of three classes of which some may not have been seen."""

    def __init__(self) -> None:
        self.mixture = Mixture(5, 3, seed=0)
        self.learner = MixtureLearner(self.mixture)
        self.generator = torch.Generator().manual_seed(0)

    def teach(self, rows: Tensor, targets: Tensor, weights: Tensor) -> None:
        answers, traces = self.mixture(rows)
        assert len(answers) == len(rows)
        self.learner.update_mixture_weights(traces, targets, weights)
        self.learner.learn(rows, targets, weights, self.generator)

    @property
    def state(self) -> dict[str, Tensor]:
        """All that serves, and all that goes on learning."""
        learned = self.learner.state_dict()
        found = {**self.mixture.state_dict(), **learned.tensors, "generator": self.generator.get_state()}
        return {**found, "numbers": torch.tensor([self.learner.unsolved, self.learner.untrained])}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("taught", [0, 3, 50, 400])
def test_a_row_of_weight_0_changes_nothing(taught: int) -> None:
    random, one = torch.Generator().manual_seed(taught), Taught()
    rows, targets = torch.randn(400, 5, generator=random), torch.randint(0, 2, (400,), generator=random)
    for first in range(0, taught, 25):
        part = slice(first, min(first + 25, taught))
        one.teach(rows[part], targets[part], torch.ones(len(rows[part])))
    before = {name: value.clone() for name, value in one.state.items()}
    # Rows far from all others, and of a class that was never seen.
    one.teach(rows[:40] * 1e3, torch.full((40,), 2), torch.zeros(40))
    assert_same(one.state, before)


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_rows_of_weight_0_among_others_change_nothing(batch: int) -> None:
    with_them, without = Taught(), Taught()
    random = torch.Generator().manual_seed(batch)
    for _ in range(160 // batch):
        rows, targets = torch.randn(batch, 5, generator=random), torch.randint(0, 3, (batch,), generator=random)
        weights = torch.rand(batch, generator=random).round(decimals=1) * (torch.rand(batch, generator=random) < 0.6)
        counts = weights > 0
        # One answer each, of the same rows: how many are answered at once must not tell them apart.
        _, traces = without.mixture(rows)
        for one, some in ((with_them, torch.ones_like(counts)), (without, counts)):
            one.learner.update_mixture_weights(traces[some], targets[some], weights[some])
            one.learner.learn(rows[some], targets[some], weights[some], one.generator)
    assert_same(with_them.state, without.state)


def test_a_label_of_half_the_weight_moves_trust_half_as_far() -> None:
    steps = []
    for weight in (0.5, 1.0):
        one = Taught()
        one.teach(torch.randn(60, 5, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 3, torch.ones(60))
        before = one.mixture.weights.clone()
        _, traces = one.mixture(torch.ones(1, 5))
        one.learner.update_mixture_weights(traces, torch.tensor([1]), torch.tensor([weight]))
        # The slow set of those that move by steps alike, up to the bound on its sum.
        after = one.mixture.weights[2]
        steps.append(float((after - before[2]).abs().sum()))
    assert 0 < steps[0] < steps[1]
    assert steps[0] == pytest.approx(steps[1] / 2, rel=0.2)

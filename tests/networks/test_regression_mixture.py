"""A regression's mixture answers whatever it is asked, within what labels have been; a member that fails is left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from driftline.networks.experts.levels import Levels
from driftline.networks.experts.neighbours import ValueNeighbours
from driftline.networks.experts.regression import MAX_LINEAR, SETS, RegressionMixture
from driftline.networks.experts.target_unit import TargetUnit
from driftline.networks.kernels.levels import BELIEVED, LAGS


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("features", [1, 6, MAX_LINEAR + 1])
def test_an_untrained_mixture_answers_near_zero(features: int, outputs: int) -> None:
    mixture = RegressionMixture(features, outputs, seed=0)
    values, trace = mixture(random(4, features), torch.zeros(4, outputs))
    assert values.shape == (4, outputs) and values.dtype == torch.float32
    assert trace.shape == (4, mixture.members + LAGS + SETS, outputs)
    assert values.abs().max() < 0.01


def test_inputs_of_any_shape_are_taken_flat() -> None:
    mixture, rows = RegressionMixture(6, 1, seed=0), random(2, 2, 3)
    assert torch.equal(mixture(rows, random(2, 1))[0], mixture(rows.reshape(2, 6), random(2, 1))[0])


def test_a_mixture_has_nothing_for_the_users_optimizer() -> None:
    assert not list(RegressionMixture(4, 2, seed=0).parameters())


def test_the_same_seed_gives_the_same_mixture() -> None:
    one, two = RegressionMixture(4, 1, seed=1).state_dict(), RegressionMixture(4, 1, seed=1).state_dict()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_member_that_is_not_finite_is_left_out(broken: float) -> None:
    mixture = RegressionMixture(3, 1, seed=0)
    mixture.rely_on_network()
    mixture.levels.follow(torch.tensor([[5.0]]))
    mixture.target_unit.follow_range(torch.tensor([[5.0]]), torch.tensor([[5.0]]))
    network = torch.tensor([[5.0], [broken]])
    values, trace = mixture(random(2, 3), network)
    torch.testing.assert_close(values, torch.full((2, 1), 5.0))
    assert trace[1, mixture.members - 1].isnan().all()


def test_a_member_can_take_all_of_the_weight() -> None:
    mixture = RegressionMixture(3, 1, seed=0)
    mixture.levels.follow(torch.tensor([[7.0]]))
    mixture.weights.fill_(0.001)
    mixture.weights[:, :, 2] = 1
    values, trace = mixture(random(5, 3), 100 * random(5, 1))
    assert torch.equal(values, torch.full((5, 1), 7.0)) and torch.equal(trace[:, 2], values)


def test_no_answer_leaves_what_labels_have_been() -> None:
    mixture, labels = RegressionMixture(3, 1, seed=0), torch.linspace(10, 20, 11).unsqueeze(1)
    mixture.target_unit.follow_range(labels, labels)
    mixture.rely_on_network()
    values, _ = mixture(random(2, 3), torch.tensor([[1e30], [-1e30]]))
    assert values.flatten().tolist() == [25.0, 5.0]


def test_a_broken_label_moves_neither_unit_nor_range() -> None:
    unit, labels = TargetUnit(1), random(100, 1)
    unit.follow_range(labels, labels)
    unit.follow(labels, is_settled=False)
    before = [value.clone() for value in unit.buffers()]
    labels[50] = 1e9
    unit.follow_range(labels[50:51].repeat(1, 1), None)
    unit.follow_range(labels[-16:], labels)
    assert unit.follow(labels, is_settled=True) is None
    for value, was in zip(unit.buffers(), before, strict=True):
        torch.testing.assert_close(value, was, rtol=0.3, atol=0.1)


def test_another_unit_says_what_former_values_are_in_it() -> None:
    unit, labels = TargetUnit(2), random(100, 2).double() * torch.tensor([3.0, 1e6]) + torch.tensor([5.0, 1e7])
    change = unit.follow(labels, is_settled=False)
    assert change is not None
    former = (labels - 0) / 1
    factor, offset = change
    torch.testing.assert_close(unit.restored(factor * former + offset), labels)


def test_the_last_label_is_told_even_where_levels_shift() -> None:
    unit, labels = TargetUnit(1), 100 + random(50, 1).double()
    unit.follow_range(labels, labels)
    shifted = torch.tensor([[24.0], [1e9]], dtype=torch.float64)
    assert float(unit.clamped(shifted[0])) > 90 and float(unit.believed(shifted[0])) == 24
    assert float(unit.believed(shifted[1])) <= BELIEVED * float(unit.high)


def test_out_of_order_the_last_labels_say_nothing() -> None:
    levels = Levels(1)
    levels.follow(torch.tensor([[1.0], [2.0]]))
    answers, lags = levels(in_order=True)
    assert lags[:, 0].tolist()[:2] == [2.0, 1.0] and lags[2:].isnan().all() and float(answers[0]) == 2.0
    answers, lags = levels(in_order=False)
    assert lags.isnan().all() and answers[:-1].isnan().all() and bool(answers[-1].isfinite())


def test_neighbours_average_values() -> None:
    neighbours = ValueNeighbours(1, 10, 2)
    bounds = torch.full((2,), -9.0), torch.full((2,), 9.0)
    assert neighbours(torch.zeros(1, 1), *bounds).isnan().all()
    neighbours.rows[:2], neighbours.norms[:2] = torch.tensor([[0.0], [3.0]]), torch.tensor([0.0, 9.0])
    neighbours.targets[:2] = torch.tensor([[1.0, 50.0], [2.0, -50.0]])
    neighbours.seen.fill_(2)
    nearest = neighbours(torch.zeros(1, 1), *bounds)[0, 0]
    assert nearest.tolist() == [1.0, 9.0]
    assert all(1 <= float(value) <= 2 for value in neighbours(torch.ones(1, 1), *bounds)[:, 0, 0])


def test_rows_alone_and_in_a_batch_are_answered_alike() -> None:
    mixture, rows = RegressionMixture(4, 2, seed=0), random(6, 4)
    mixture.encoded.heads.normal_(generator=torch.Generator().manual_seed(0))
    whole, _ = mixture(rows, random(6, 2))
    for place in range(6):
        one, _ = mixture(rows[place : place + 1], random(6, 2)[place : place + 1])
        torch.testing.assert_close(one[0], whole[place])


def test_a_range_that_holds_is_the_same_as_one_that_was_looked_for() -> None:
    """Labels that need no wider range are not sorted; what is answered does not depend on that."""
    unit, other, labels = TargetUnit(2), TargetUnit(2), random(300, 2).double()
    labels[100:110] *= 5
    labels[150, 0] = 1e6
    for each in (unit, other):
        each.follow_range(labels[:16], labels[:50])
    other._holds = lambda labels: False  # type: ignore[method-assign]
    for end in range(50, 300):
        for each in (unit, other):
            each.follow_range(labels[:end].float())
        assert all(torch.equal(one, two) for one, two in zip(unit.buffers(), other.buffers(), strict=True))
    assert bool(unit.high[1] > 5), "it has widened"


@pytest.mark.parametrize("one_in", [8, 12])
def test_labels_that_come_again_are_answered_however_far_they_are_from_most(one_in: int) -> None:
    unit, places = TargetUnit(1), torch.arange(240).unsqueeze(1)
    labels = torch.where(places % one_in == 0, 500.0, 2800.0 + places % 7)
    unit.follow_range(labels[-16:], labels)
    unit.follow(labels, is_settled=True)
    assert float(unit.low) < 500 and float(unit.scaled(labels[:1])) > -10


def test_a_few_broken_labels_are_no_part_of_the_range() -> None:
    unit, labels = TargetUnit(1), 2800.0 + torch.arange(240).unsqueeze(1) % 7
    labels[::20] = 1e6
    unit.follow_range(labels[-16:], labels)
    assert float(unit.high) < 3000

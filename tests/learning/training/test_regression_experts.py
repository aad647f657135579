"""A regression's mixture learns: from the labels as they were served, repeatably, and through whatever a stream brings."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import Tensor

from driftline.learning.stateful import undeclared
from driftline.learning.training.experts.least_squares import LeastSquares
from driftline.learning.training.experts.regression import RegressionLearner
from driftline.networks.experts.linear import LinearHeads, with_constant
from driftline.networks.experts.regression import RegressionMixture
from tests.learning.training.mixture_streams import MixtureStream, random, same


class Stream(MixtureStream[RegressionMixture, RegressionLearner]):
    """A mixture, its learner, and a network beside it that always answers 0."""

    def __init__(self, features: int = 2, outputs: int = 1) -> None:
        mixture = RegressionMixture(features, outputs, seed=0)
        super().__init__(mixture, RegressionLearner(mixture))

    def answer(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        answered: tuple[Tensor, Tensor] = self.mixture(rows, torch.zeros(len(rows), self.mixture.outputs))
        return answered

    def step(self, rows: Tensor, targets: Tensor, weights: Tensor | None = None) -> float:
        """Test, then train; the mean absolute error of the answers."""
        values, trace = self.answer(rows)
        weights = torch.ones(len(rows)) if weights is None else weights
        self.learner.update_mixture_weights(trace, rows, targets, weights)
        self.learner.learn(rows, targets, weights, self.generator)
        self.learner.follow_labels()
        return float((values - targets.reshape(values.shape)).abs().mean())


def test_a_noiseless_rule_is_learned_to_the_last_digit() -> None:
    stream, rows = Stream(), random(640, 2)
    assert stream.play(rows, 1000 + 3 * rows[:, 0] - rows[:, 1], 32)[-1] < 1e-3


def test_a_rule_that_is_not_linear_is_learned() -> None:
    stream, rows = Stream(), random(1600, 2)
    errors = stream.play(rows, rows[:, 0] * rows[:, 1], 32)
    assert sum(errors[-10:]) / 10 < 0.25


def test_a_rule_of_thresholds_is_learned_by_the_trees() -> None:
    stream, rows = Stream(4), 100 + random(960, 4)
    rule = torch.where(rows[:, 0] > 100.3, 5.0, torch.where(rows[:, 1] > 99.5, 20.0, 1.0))
    stream.play(rows[:800], rule[:800], 16)
    _, trace = stream.answer(rows[800:])
    members = (trace[:, : stream.mixture.members, 0] - rule[800:, None]).abs().mean(0)
    assert stream.mixture.linear is not None
    trees = stream.mixture.members - 2 - stream.mixture.linear.members
    assert int(members.argmin()) == trees and members[trees] < 1.5


def test_of_a_walk_the_last_value_is_answered() -> None:
    walk = random(500, 1).cumsum(0)
    errors = Stream().play(torch.zeros(500, 2), walk, 1)
    last = float(walk.diff(dim=0)[200:].abs().mean())
    assert sum(errors[201:]) / 299 < 1.05 * last


def test_a_level_that_shifts_is_followed_at_once() -> None:
    stream = Stream()
    targets = torch.full((200, 1), 5.0)
    targets[100:] = 9.0
    assert max(stream.play(random(200, 2), targets, 1)[105:]) < 0.1


def test_weights_that_walk_are_followed() -> None:
    rows, walk = random(800, 3), (0.05 * random(800, 3, seed=1)).cumsum(0)
    targets = (rows * walk).sum(1)
    errors = Stream(3).play(rows, targets, 2)
    assert sum(errors[-200:]) / 200 < 0.25 * float(targets[-400:].abs().mean())


def test_several_outputs_are_learned_each_by_its_own_members() -> None:
    rows = random(960, 3)
    targets = torch.stack([1e6 * rows[:, 0], (0.01 * random(960, seed=1)).cumsum(0)], 1)
    stream, single = Stream(3, 2), Stream(3)
    stream.play(rows, targets, 32)
    values, _ = stream.answer(rows[:100])
    torch.testing.assert_close(values[:, 0], targets[:100, 0], rtol=0.05, atol=2e4)
    single.play(rows, targets[:, 0], 32)
    assert stream.mixture.weights.shape[0] == 2 and not torch.equal(
        stream.mixture.weights[0], stream.mixture.weights[1]
    )


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("batch", [1, 5, 32, 100])
def test_going_on_from_a_state_gives_the_same_bits(batch: int, outputs: int) -> None:
    # Of a batch each the ring of rows is full before; of single rows it would take long.
    first = 1100 if batch > 5 else 100
    rows, targets = random(first + 100, 2), random(first + 100, outputs, seed=1)
    stream, other = Stream(outputs=outputs), Stream(outputs=outputs)
    stream.play(rows[:first], targets[:first], batch)
    other.mixture.load_state_dict(stream.mixture.state_dict())
    other.learner = RegressionLearner(other.mixture)
    other.learner.load_state_dict(copy.deepcopy(stream.learner.state_dict()))
    other.generator.set_state(stream.generator.get_state())
    assert same(stream, other)
    for each in (stream, other):
        each.play(rows[first:], targets[first:], batch)
    assert same(stream, other)


def test_all_that_it_has_is_state_or_follows_from_it() -> None:
    learner = Stream().learner
    assert not any(undeclared(part) for part in (learner, learner.encoded, learner.bank))


def test_a_new_learner_goes_on_from_what_a_mixture_knows() -> None:
    stream, rows = Stream(), random(1280, 2)
    targets = rows[:, 0] * rows[:, 1] + 0.1 * random(1280, seed=1)
    before = sum(stream.play(rows, targets, 32)[-10:]) / 10
    stream.learner = RegressionLearner(stream.mixture)
    after = random(320, 2, seed=2)
    assert sum(stream.play(after, after[:, 0] * after[:, 1], 32)) / 10 < 1.3 * before


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("label", [7.0, 0.0, 1e9, -3e38, 1e-30])
def test_a_constant_target_is_answered(label: float, batch: int) -> None:
    stream, rows = Stream(), 40 if batch == 1 else 96
    stream.play(random(rows, 2), torch.full((rows,), label), batch)
    assert stream.is_finite()
    torch.testing.assert_close(stream.answer(random(3, 2))[0], torch.full((3, 1), label))


@pytest.mark.parametrize("batch", [1, 64, 500])
def test_constant_huge_and_lone_inputs_leave_everything_finite(batch: int) -> None:
    rows = random(500 if batch > 1 else 150, 4)
    rows[:, 0], rows[:, 1] = 7.0, 1e6 * rows[:, 1] + 1e6
    rows[100, 2] = 3e38
    stream = Stream(4)
    stream.play(rows, 1e9 * rows[:, 3], batch)
    assert stream.is_finite()
    assert stream.answer(rows)[0].isfinite().all()


def last_error(broken: int | None) -> float:
    """Of the last twenty steps of a stream with one broken label, or none."""
    rows = random(800, 2)
    targets = 0.01 * (rows[:, 0] + 0.1 * random(800, seed=1))
    if broken is not None:
        targets[broken] = 999999
    return sum(Stream().play(rows, targets, 8)[-20:]) / 20


@cache
def error_of_whole_labels() -> float:
    return last_error(None)


@pytest.mark.parametrize("place", [0, 1, 40, 500])
def test_one_broken_label_is_forgotten(place: int) -> None:
    assert last_error(place) < 1.1 * error_of_whole_labels()


def test_a_row_of_weight_zero_teaches_no_member_and_moves_no_weight() -> None:
    stream, rows = Stream(), random(320, 2)
    stream.play(rows[:64], rows[:64, 0], 32)
    before = stream.tensors()
    stream.step(rows, 100 + rows[:, 1], torch.zeros(320))
    after = stream.tensors()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_no_member_could_know_moves_no_weight() -> None:
    stream = Stream()
    before = stream.mixture.weights.clone()
    stream.learner.update_mixture_weights(stream.answer(random(3, 2))[1], random(3, 2), torch.ones(3), torch.ones(3))
    assert torch.equal(stream.mixture.weights, before) and not stream.learner.scored


@pytest.mark.parametrize("features", [150, 300])
def test_wide_rows_are_learned(features: int) -> None:
    stream, rows = Stream(features), random(200, features)
    stream.play(rows, rows[:, 0], 100)
    assert stream.is_finite() and stream.learner.bank.steps > 0


def test_sums_in_another_unit_have_the_same_answers() -> None:
    linear = LinearHeads(2, 1, (1.0, 0.9))
    sums, rows = LeastSquares(linear, penalty=1e-9), random(50, 2).double()
    targets = rows[:, :1] - 2 * rows[:, 1:] + 5
    sums.add(with_constant(rows), targets, torch.ones(50))
    sums.solve()
    before = linear(with_constant(rows))
    change = torch.tensor([[2.0, 0, 1], [0, 0.5, -3], [0, 0, 1]], dtype=torch.float64)
    sums.change_features(change)
    sums.change_targets(torch.tensor([10.0]), torch.tensor([7.0]))
    sums.solve()
    torch.testing.assert_close(linear(with_constant(rows) @ change.T), 10 * before + 7, rtol=1e-3, atol=1e-3)


def test_batches_of_least_squares_count_as_single_rows() -> None:
    rows, targets, weights = random(20, 3).double(), random(20, 1), random(20).abs()
    one, many = (LeastSquares(LinearHeads(2, 1, (1.0, 0.9)), penalty=1.0) for _ in range(2))
    one.add(rows, targets, weights)
    for place in range(20):
        many.add(rows[place : place + 1], targets[place : place + 1], weights[place : place + 1])
    torch.testing.assert_close(one.gram, many.gram)
    torch.testing.assert_close(one.moment, many.moment)

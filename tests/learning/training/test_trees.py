"""Boosted trees learn what is in a window: rules between few of many numbers, the same bits from the same state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from driftline.learning.stateful import undeclared
from driftline.learning.training.experts.trees import TreesLearner
from driftline.learning.training.experts.value_trees import ValueTreesLearner
from driftline.networks.experts.trees import TREES, Trees


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def keep(learner: TreesLearner, slots: slice, rows: Tensor) -> None:
    """Takes rows into slots of the window."""
    learner.waiting += len(rows)
    learner.sums[slots] = learner.trees.sums(rows)


class Window:
    """Trees, their learner, and a window that holds all rows that have come."""

    def __init__(self, features: int, classes: int, size: int = 600) -> None:
        self.trees = Trees()
        self.trees.add_columns(classes)
        self.learner = TreesLearner(self.trees, size, features)
        self.generator = torch.Generator().manual_seed(0)
        self.rows, self.targets = torch.zeros(0, features), torch.zeros(0, dtype=torch.int64)
        self.weights = torch.zeros(0)

    def play(self, rows: Tensor, targets: Tensor, batch: int = 16, weights: Tensor | None = None) -> None:
        weights = torch.ones(len(targets)) if weights is None else weights
        for some, labels, counts in zip(rows.split(batch), targets.split(batch), weights.split(batch), strict=True):
            first = len(self.rows)
            self.rows, self.targets = torch.cat([self.rows, some]), torch.cat([self.targets, labels])
            self.weights = torch.cat([self.weights, counts])
            keep(self.learner, slice(first, len(self.rows)), some)
            self.learner.learn(self.rows, self.targets, self.weights, self.generator)

    def accuracy(self, rows: Tensor, targets: Tensor) -> float:
        return float((self.trees.scores(rows).argmax(1) == targets).float().mean())


def rule(rows: Tensor) -> Tensor:
    """Two numbers of many matter, and neither says anything alone."""
    return ((rows[:, 1] > 0) ^ (rows[:, -1] > 0.3)).long()


@pytest.mark.parametrize(("features", "at_least"), [(4, 0.93), (40, 0.85)])
def test_a_rule_between_two_numbers_is_learned(features: int, at_least: float) -> None:
    window, rows = Window(features, 2), random(900, features)
    window.play(rows[:600], rule(rows[:600]))
    assert window.accuracy(rows[600:], rule(rows[600:])) > at_least


@pytest.mark.parametrize("classes", [3, 9])
def test_several_classes_are_learned(classes: int) -> None:
    window, rows = Window(3, classes), random(900, 3)
    targets = (rows[:, 1] * 3).long().clamp(-4, 4) % classes
    window.play(rows[:600], targets[:600])
    assert window.accuracy(rows[600:], targets[600:]) > 0.85


def test_a_simple_rule_is_known_after_a_few_rows() -> None:
    window, rows = Window(10, 2), random(340, 10)
    targets = (rows[:, 3] > 0).long()
    window.play(rows[:40], targets[:40], batch=1)
    assert window.accuracy(rows[40:], targets[40:]) > 0.85


def test_what_the_trees_say_of_the_window_is_kept_up() -> None:
    window, rows = Window(4, 3), random(600, 4)
    window.play(rows, torch.arange(600) % 3)
    assert window.learner.grown > TREES
    torch.testing.assert_close(window.learner.sums, window.trees.sums(rows), atol=1e-4, rtol=0)


def test_going_on_from_a_state_gives_the_same_bits() -> None:
    window, rows, other = Window(4, 2), random(600, 4), Window(4, 2)
    window.play(rows[:300], rule(rows[:300]))
    other.trees.load_state_dict(window.trees.state_dict())
    other.learner.load_state_dict(copy.deepcopy(window.learner.state_dict()))
    other.generator.set_state(window.generator.get_state())
    other.rows, other.targets, other.weights = window.rows, window.targets, window.weights
    for each in (window, other):
        each.play(rows[300:], rule(rows[300:]))
    assert all(torch.equal(value, other.trees.state_dict()[name]) for name, value in window.trees.state_dict().items())
    assert not undeclared(window.learner)


def test_rows_of_weight_nothing_say_nothing() -> None:
    one, other, rows = Window(4, 2), Window(4, 2), random(300, 4)
    weights = (torch.arange(300) % 2).float()
    one.play(rows, rule(rows), weights=weights)
    other.play(rows, torch.where(weights > 0, rule(rows), 1 - rule(rows)), weights=weights)
    torch.testing.assert_close(one.trees.scores(rows), other.trees.scores(rows))


@pytest.mark.parametrize("value", [7.0, 1e18, -1e18])
def test_constant_and_huge_numbers_leave_everything_finite(value: float) -> None:
    window, rows = Window(2, 2), random(200, 2)
    rows[:, 0] = value
    window.play(rows, (rows[:, 1] > 0).long())
    assert all(bool(each.isfinite().all()) for each in window.trees.state_dict().values())
    assert window.accuracy(rows, (rows[:, 1] > 0).long()) > 0.9


def test_one_class_alone_and_one_row_alone_are_no_trouble() -> None:
    for classes, count in ((1, 50), (2, 1)):
        window = Window(2, classes)
        window.play(random(count, 2), torch.zeros(count, dtype=torch.int64))
        assert window.trees(random(3, 2)).isfinite().all()


def test_a_tree_is_grown_even_where_none_of_a_few_rows_was_drawn() -> None:
    window = Window(3, 2)
    window.learner.few = 1
    window.play(random(1, 3), torch.ones(1, dtype=torch.int64))
    assert window.learner.grown > TREES and bool((window.trees.values[..., 1] > 0).any(1).all())


def of_values(outputs: int) -> tuple[ValueTreesLearner, Tensor, Tensor]:
    """Trees that have learned steps, with their window and what it is about."""
    trees, rows = Trees(), random(400, 3)
    trees.add_columns(outputs)
    learner, generator = ValueTreesLearner(trees, 400, 3), torch.Generator().manual_seed(0)
    targets = torch.stack([torch.where(rows[:, column] > 0, 1.5, -0.5) for column in range(outputs)], 1)
    for end in range(16, 401, 16):
        keep(learner, slice(end - 16, end), rows[end - 16 : end])
        learner.learn(rows[:end], targets[:end], torch.ones(end), generator)
    return learner, rows, targets


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_values_are_learned(outputs: int) -> None:
    learner, rows, targets = of_values(outputs)
    assert (learner.trees.scores(rows) - targets).abs().mean() < 0.3
    torch.testing.assert_close(learner.sums, learner.trees.sums(rows), rtol=0, atol=1e-4)


def test_values_in_another_unit_are_the_same() -> None:
    learner, rows, _ = of_values(2)
    before, factor, offset = learner.trees.scores(rows), torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 3.0])
    learner.change_targets(factor.double(), offset.double())
    torch.testing.assert_close(learner.trees.scores(rows), before * factor + offset)
    torch.testing.assert_close(learner.sums + learner.trees.base, before * factor + offset, rtol=0, atol=1e-4)

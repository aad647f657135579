"""A mixture that learns: the ids of the classes mean nothing to it, and to lose a class is to lose a column."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from driftline.learning.training.experts.mixture import MixtureLearner
from driftline.networks.experts.columns import MAX_COLUMNS
from driftline.networks.experts.mixture import Mixture
from tests.learning.training.mixture_streams import random


class Stream:
    """A mixture beside a network that knows nothing, and its learner."""

    def __init__(self, classes: int, features: int = 3, max_columns: int = MAX_COLUMNS) -> None:
        self.mixture = Mixture(features, classes, seed=0, with_network=True, max_columns=max_columns)
        self.learner = MixtureLearner(self.mixture)
        self.generator = torch.Generator().manual_seed(0)

    def answer(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        classes = self.mixture.classes
        return self.mixture(rows, torch.full((len(rows), classes), 1 / classes).log())

    def play(self, rows: Tensor, targets: Tensor, batch: int = 5) -> None:
        for some, labels in zip(rows.split(batch), targets.split(batch), strict=True):
            self.learner.update_mixture_weights(self.answer(some)[1].half(), labels)
            self.learner.learn(some, labels, torch.ones(len(some)), self.generator)

    def tensors(self) -> dict[str, Tensor]:
        return {**self.mixture.state_dict(), **self.learner.state_dict().tensors}


def ruled(count: int) -> tuple[Tensor, Tensor]:
    """Rows, and which of three classes each is of."""
    rows = random(count, 3)
    return rows, (rows[:, 0] > 0).long() + (rows[:, 1] > 0.5).long()


def test_of_very_many_declared_classes_those_that_are_seen_are_learned() -> None:
    rows, targets = ruled(400)
    ids = torch.tensor([99_999, 7, 50_000])
    few, many = Stream(3), Stream(100_000)
    few.play(rows[:300], targets[:300])
    many.play(rows[:300], ids[targets[:300]])
    sizes = [sum(value.numel() for value in stream.tensors().values()) for stream in (few, many)]
    assert sizes[0] == sizes[1]
    answers = many.answer(rows[300:])[0].argmax(1)
    assert (answers == ids[targets[300:]]).float().mean() > 0.85


@pytest.mark.parametrize("classes", [3, 8])
def test_ids_that_are_permuted_give_permuted_answers(classes: int) -> None:
    rows, targets = ruled(200)
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(1))
    one, other = Stream(classes), Stream(classes)
    one.play(rows[:150], targets[:150])
    other.play(rows[:150], order[targets[:150]])
    mine, its = (stream.answer(rows[150:])[0].softmax(1) for stream in (one, other))
    torch.testing.assert_close(its[:, order], mine)
    one.learner.reclass(order.tolist(), classes)
    torch.testing.assert_close(one.answer(rows[150:])[0].softmax(1), its)


def test_a_class_that_was_given_a_column_and_lost_has_never_been() -> None:
    rows, targets = ruled(100)
    stream, other = Stream(4), Stream(4)
    for each in (stream, other):
        each.play(rows, targets)
    stream.learner._see([3])
    stream.learner.reclass([0, 1, 2, None], 3)
    other.learner.reclass([0, 1, 2, None], 3)
    assert all(torch.equal(value, other.tensors()[name]) for name, value in stream.tensors().items())
    for each in (stream, other):
        each.play(*ruled(50))
    assert all(torch.equal(value, other.tensors()[name]) for name, value in stream.tensors().items())


def test_what_was_learned_of_the_others_stays_when_a_class_is_lost() -> None:
    rows, targets = ruled(300)
    stream = Stream(3)
    stream.play(rows, targets)
    before, mixture = copy.deepcopy(stream.mixture), stream.mixture
    encoded = mixture.encoding(rows[:20])
    stream.learner.reclass([1, None, 0], 2)
    kept = mixture.columns.of(torch.tensor([1, 0]))
    was = before.columns.of(torch.tensor([0, 2]))
    for name in ("ridge", "bank"):
        now, then = getattr(mixture, name)(encoded), getattr(before, name)(encoded)
        torch.testing.assert_close(now[:, :, kept], then[:, :, was].log_softmax(2))
    own = before.neighbours.newest(300)
    own = own[before.neighbours.targets[own] != before.columns.of(torch.tensor([1]))]
    count = int(mixture.neighbours.seen)
    assert torch.equal(mixture.neighbours.rows[:count], before.neighbours.rows[own])
    assert torch.equal(stream.learner.rows[:count], rows[targets != 1])
    assert torch.equal(
        mixture.columns.seen[mixture.neighbours.targets[:count]], torch.tensor([1, -1, 0])[targets[targets != 1]]
    )
    assert stream.learner.ridge.moment.shape[2] == mixture.ridge.heads.shape[2] == 2


def test_the_rows_of_a_full_window_stay_in_their_order_when_a_class_is_lost() -> None:
    rows, targets = ruled(1300)
    stream = Stream(3)
    stream.play(rows, targets, 32)
    stream.learner.reclass([0, None, 1], 2)
    kept = rows[-1000:][targets[-1000:] != 1]
    assert torch.equal(stream.learner.rows[: len(kept)], kept) and int(stream.mixture.neighbours.seen) == len(kept)
    other = Stream(2)
    other.mixture.load_state_dict(stream.mixture.state_dict())
    other.learner = MixtureLearner(other.mixture)
    other.learner.load_state_dict(stream.learner.state_dict())
    more = random(200, 3, seed=2)
    for each in (stream, other):
        each.generator.manual_seed(3)
        each.play(more, (more[:, 0] > 0).long())
    assert all(torch.equal(value, other.tensors()[name]) for name, value in stream.tensors().items())


def test_a_class_that_comes_back_begins_anew() -> None:
    rows, targets = ruled(300)
    stream = Stream(3)
    stream.play(rows, targets)
    stream.learner.reclass([0, None, 1], 2)
    stream.mixture.add_classes(1)
    again = torch.tensor([0, 2, 1])[targets]
    stream.play(rows, again)
    assert (stream.answer(rows)[0].argmax(1) == again).float().mean() > 0.9


def test_all_classes_can_be_lost() -> None:
    stream = Stream(2)
    stream.play(random(40, 3), torch.arange(40) % 2)
    stream.learner.reclass([None, None], 1)
    assert stream.answer(random(2, 3))[0].shape == (2, 1)
    stream.play(random(20, 3), torch.zeros(20, dtype=torch.int64))
    assert stream.mixture.columns.count == 1


def test_classes_beyond_the_limit_are_the_networks_alone() -> None:
    rows, targets = ruled(200)
    stream = Stream(3, max_columns=2)
    stream.play(rows, targets)
    assert stream.mixture.columns.count == 2
    seen = stream.mixture.columns.seen
    is_seen = (targets.unsqueeze(1) == seen).any(1)
    assert int(stream.mixture.labels.learned) == int(is_seen.sum())
    answers = stream.answer(rows)[0].argmax(1)
    assert (answers == targets)[is_seen].float().mean() > 0.7
    assert all(bool(value.isfinite().all()) for value in stream.tensors().values())


def test_a_label_of_a_class_that_was_unseen_is_one_of_any_other() -> None:
    stream = Stream(4)
    rows, targets = ruled(60)
    stream.play(rows, targets.clamp(max=1))
    before = stream.mixture.weights.clone()
    trace = stream.answer(rows[:4])[1].half()
    stream.learner.update_mixture_weights(trace, torch.tensor([2, 3, 2, 3]))
    assert not torch.equal(stream.mixture.weights, before)
    stream.learner.learn(rows[:2], torch.tensor([2, 3]), torch.ones(2), stream.generator)
    again = stream.mixture.weights.clone()
    stream.learner.update_mixture_weights(trace, torch.tensor([2, 3, 2, 3]))
    assert not torch.equal(stream.mixture.weights, again), "also where it has been seen since"


def test_very_many_classes_are_counted_by_their_most_frequent_successors() -> None:
    stream, ids = Stream(5000, features=2), torch.arange(300)
    stream.play(random(300, 2), ids, 32)
    labels = stream.mixture.labels
    assert labels.counts.shape == labels.successors.shape == (300, labels.max_successors)
    stream.play(random(300, 2), ids, 32)
    assert all(bool(value.isfinite().all()) for value in stream.tensors().values())
    answers = stream.answer(random(3, 2))[0].softmax(1)
    torch.testing.assert_close(answers.sum(1), torch.ones(3))

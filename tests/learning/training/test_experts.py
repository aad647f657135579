"""A mixture learns: from the labels as they were served, repeatably, and through whatever a stream brings."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from driftline.learning.stateful import State, undeclared
from driftline.learning.training.experts.mixture import MixtureLearner
from driftline.networks.experts.mixture import Mixture
from tests.learning.training.mixture_streams import MixtureStream, random, same


class Stream(MixtureStream[Mixture, MixtureLearner]):
    """A mixture, its learner, and rows of two features with a rule between them."""

    def __init__(self, classes: int = 2, features: int = 2) -> None:
        mixture = Mixture(features, classes, seed=0)
        super().__init__(mixture, MixtureLearner(mixture))

    def step(self, rows: Tensor, targets: Tensor) -> float:
        """Test, then train; the accuracy of the answers."""
        logits, trace = self.mixture(rows)
        self.learner.update_mixture_weights(trace.half(), targets)
        self.learner.learn(rows, targets, torch.ones(len(rows)), self.generator)
        return float((logits.argmax(1) == targets).float().mean())


def test_a_rule_is_learned_and_then_its_opposite() -> None:
    stream, rows = Stream(), random(960, 2)
    rule = (rows[:, 0] * rows[:, 1] > 0).long()
    assert sum(stream.play(rows, rule, 32)[-10:]) / 10 > 0.9
    assert sum(stream.play(rows, 1 - rule, 32)[-10:]) / 10 > 0.85


def test_a_sudden_change_is_followed_within_a_hundred_labels() -> None:
    stream, rows = Stream(features=6), random(720, 6)
    rule = (rows[:, 0] > rows[:, 1].sin()).long()
    rule[600:] = 1 - rule[600:]
    assert sum(stream.play(rows, rule, 1)[620:]) / 100 > 0.75


def test_labels_that_follow_their_predecessors_are_foreseen_without_any_input() -> None:
    targets = torch.arange(600) // 20 % 2
    assert sum(Stream().play(torch.zeros(600, 2), targets, 1)[100:]) / 500 > 0.9


@pytest.mark.parametrize("batch", [1, 5, 32, 100])
def test_going_on_from_a_state_gives_the_same_bits(batch: int) -> None:
    rows, targets = random(1300, 2), (random(1300, seed=1) > 0).long()
    stream, other = Stream(), Stream()
    stream.play(rows[:1100], targets[:1100], batch)
    other.mixture.load_state_dict(stream.mixture.state_dict())
    other.learner = MixtureLearner(other.mixture)
    other.learner.load_state_dict(copy.deepcopy(stream.learner.state_dict()))
    other.generator.set_state(stream.generator.get_state())
    assert same(stream, other)
    for each in (stream, other):
        each.play(rows[1100:], targets[1100:], batch)
    assert same(stream, other)


def test_a_learner_takes_a_state_and_leaves_it_as_it_is() -> None:
    stream, other = Stream(), Stream()
    stream.play(random(64, 2), torch.zeros(64, dtype=torch.int64), 32)
    kept = copy.deepcopy(stream.learner.state_dict())
    before = {name: value.clone() for name, value in kept.tensors.items()}
    other.mixture.load_state_dict(stream.mixture.state_dict())
    other.learner.load_state_dict(State(kept.tensors, kept.data))
    other.play(random(64, 2), torch.zeros(64, dtype=torch.int64), 32)
    assert all(torch.equal(value, before[name]) for name, value in kept.tensors.items())


def test_all_that_it_has_is_state_or_follows_from_it() -> None:
    learner = Stream().learner
    assert learner.trees is not None
    assert not any(map(undeclared, (learner, learner.ridge, learner.bank, learner.trees)))


def test_a_state_without_trees_gets_them_from_its_window() -> None:
    stream, other, rows = Stream(), Stream(), random(400, 2)
    rule = (rows[:, 0] * rows[:, 1] > 0).long()
    stream.play(rows[:200], rule[:200], 20)
    served, learned = stream.mixture.state_dict(), stream.learner.state_dict()
    served["weights"] = served["weights"][:, 1:]
    other.mixture.load_state_dict({name: value for name, value in served.items() if not name.startswith("trees.")})
    tensors = {name: value for name, value in learned.tensors.items() if not name.startswith("trees.")}
    other.learner.load_state_dict(State(tensors, {name: v for name, v in learned.data.items() if name != "trees"}))
    assert other.mixture.trees is not None and not other.mixture.trees.values.any()
    other.play(rows[200:], rule[200:], 20)
    assert (other.mixture.trees(rows)[0].argmax(1) == other.mixture.columns.of(rule)).float().mean() > 0.9


def test_a_copy_that_is_served_does_not_learn_along() -> None:
    stream = Stream()
    served = copy.deepcopy(stream.mixture)
    before = {name: value.clone() for name, value in served.state_dict().items()}
    stream.play(random(64, 2), torch.ones(64, dtype=torch.int64), 32)
    assert all(torch.equal(value, before[name]) for name, value in served.state_dict().items())


def test_a_new_learner_goes_on_from_what_a_mixture_knows() -> None:
    stream, rows = Stream(), random(1280, 2)
    rule = (rows[:, 0] * rows[:, 1] > 0).long()
    stream.play(rows, rule, 32)
    stream.learner = MixtureLearner(stream.mixture)
    assert sum(stream.play(rows, rule, 32)[:10]) / 10 > 0.93


@pytest.mark.parametrize("classes", [1, 2, 1000])
def test_any_number_of_classes_is_learned(classes: int) -> None:
    stream = Stream(classes)
    stream.play(random(70, 2), torch.arange(70) % classes, 32)
    assert stream.is_finite()


@pytest.mark.parametrize("batch", [1, 64, 500])
def test_constant_huge_and_lone_inputs_leave_everything_finite(batch: int) -> None:
    rows = random(500, 4)
    rows[:, 0], rows[:, 1] = 7.0, 1e6 * rows[:, 1] + 1e6
    rows[100, 2] = 3e38
    stream = Stream(features=4)
    stream.play(rows, (rows[:, 1] > 1e6).long(), batch)
    assert stream.is_finite()
    assert stream.mixture(rows)[0].isfinite().all()


def test_a_class_that_comes_later_is_learned() -> None:
    stream, rows = Stream(classes=0), random(600, 2)
    targets = (rows[:, 0] > 0).long() + (rows[:, 1] > 1).long()
    old = stream.mixture(rows[:1])[1]
    stream.mixture.add_classes(2)
    stream.learner.update_mixture_weights(old.half(), targets[:1].clamp(max=1))
    stream.play(rows[:320], targets[:320].clamp(max=1), 32)
    narrow = stream.mixture(rows[:32])[1]
    stream.mixture.add_classes(1)
    stream.learner.update_mixture_weights(narrow.half(), targets[:32])
    assert stream.play(rows[320:], targets[320:], 32)[-1] > 0.8
    assert stream.is_finite()


def test_a_row_of_weight_zero_teaches_no_rule() -> None:
    stream, rows = Stream(), random(320, 2)
    targets = (rows[:, 0] > 0).long()
    stream.learner.learn(rows, targets, torch.zeros(320), stream.generator)
    assert not stream.mixture.ridge.heads.any()


def test_the_members_that_predict_well_gain_weight() -> None:
    stream, targets = Stream(), torch.arange(32) % 2
    stream.learner.learn(random(2, 2), torch.tensor([0, 1]), torch.ones(2), stream.generator)
    trace = torch.full((32, stream.mixture.members + 1, 2), 0.5).log()
    trace[torch.arange(32), 0, targets] = -0.05
    trace[torch.arange(32), 0, 1 - targets] = -3.0
    before = stream.mixture.weights.clone()
    stream.learner.update_mixture_weights(trace, targets)
    assert (stream.mixture.weights[:, 0] > before[:, 0]).all()
    others, former = stream.mixture.weights[:, 1:], before[:, 1:]
    torch.testing.assert_close(others / others.sum(1, keepdim=True), former / former.sum(1, keepdim=True))


def test_classes_that_have_gone_are_remembered() -> None:
    """Two classes, then two others: without what is replayed the mixture would only know the latter."""

    def final(remembers: bool) -> float:
        stream = Stream(classes=4, features=4)
        centres = 2 * torch.eye(4)
        old, new = torch.arange(800) % 2, torch.arange(800) % 2 + 2
        replay_buffer = centres[old[:50]] + random(50, 4, seed=1)
        for targets in torch.cat([old, new]).split(10):
            stream.step(centres[targets] + random(len(targets), 4, seed=int(stream.mixture.neighbours.seen)), targets)
            if remembers:
                stream.learner.remember(stream.mixture(replay_buffer[:10], in_order=False)[1], old[:10])
        logits, _ = stream.mixture(replay_buffer[10:])
        return float((logits.argmax(1) == old[10:50]).float().mean())

    assert final(True) > final(False) + 0.2


@pytest.mark.parametrize("features", [150, 6000])
def test_wide_rows_are_learned(features: int) -> None:
    stream, rows = Stream(features=features), random(200, features)
    stream.play(rows, (rows[:, 0] > 0).long(), 100)
    assert stream.is_finite()
    assert stream.learner.bank.steps > 0


def test_that_a_class_was_unknown_is_nobodys_fault() -> None:
    stream = Stream()
    stream.play(random(64, 2), torch.arange(64) % 2, 32)
    before, losses = stream.mixture.weights.clone(), stream.learner.losses.clone()
    trace = stream.mixture(random(3, 2))[1]
    stream.mixture.add_classes(1)
    stream.learner.update_mixture_weights(trace, torch.tensor([2, 2, 2]))
    assert torch.equal(stream.mixture.weights, before) and torch.equal(stream.learner.losses, losses)

"""A former version teaches beside the labels: the anchor in the stream, the champion at its fork in a job."""

from __future__ import annotations

import copy

import pytest
import torch

from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import GateLimits
from driftline.learning.training.distillation import distilled
from driftline.networks.served_model import ServedModel
from driftline.records import Item
from driftline.spec.parts.strategies import STRATEGIES
from tests.learning.conftest import assert_same, examples_of, learner, play, restored, spec, values, world

FAST = {"learning_rate": 0.02}


def turned(items: list[Item]) -> list[Item]:
    return [Item(i.id, i.inputs, 1 - int(i.label)) for i in items]  # type: ignore[arg-type]


def apart(one: ServedModel, other: ServedModel, learner: Learner) -> float:
    """How far the networks' own answers differ."""
    rows = examples_of(learner, world(100, 9000)).inputs
    with torch.no_grad():
        return float((one.eval()(rows).softmax(1) - other.eval()(rows).softmax(1)).abs().mean())


def test_the_term_is_the_divergence_from_the_teacher_times_the_squared_temperature() -> None:
    one = learner()
    rows, teacher = examples_of(one, world(10)), copy.deepcopy(one.module)
    with torch.no_grad():
        teacher.output.get_parameter("bias")[0] += 2
        ours, theirs = (module.eval()(rows.inputs) for module in (one.module, teacher))
        found = distilled(one.module, teacher, rows, 3.0, 2.0)(ours)
    p, q = (theirs / 2).softmax(1), (ours / 2).softmax(1)
    assert float(found) == pytest.approx(3 * 4 * float((p * (p / q).log()).sum(1).mean()), rel=1e-4)
    assert float(distilled(one.module, one.module, rows, 3.0, 2.0)(ours)) == pytest.approx(0, abs=1e-6)


def test_a_regression_is_taught_in_the_targets_own_units() -> None:
    one = learner(task="regression", classes=None, recipe={"strategy": "replay"})
    play(one, values(200))
    teacher, rows = copy.deepcopy(one.module), examples_of(one, values(50, 300))
    one.module.observe(rows.inputs, rows.targets * 3)
    with torch.no_grad():
        wanted = one.module.scaled_targets(teacher.eval().predict(rows.inputs))
        assert float(distilled(one.module, teacher, rows, 1.0, 2.0)(wanted)) == pytest.approx(0, abs=1e-6)


def test_classes_that_the_teacher_does_not_know_are_left_alone() -> None:
    one = learner(classes=[0, 1, 2])
    teacher = learner().module
    rows = examples_of(one, world(10))
    outputs = one.module.eval()(rows.inputs)
    term = distilled(one.module, teacher, rows, 1.0, 2.0)(outputs)
    (gradient,) = torch.autograd.grad(term, outputs)
    assert not gradient[:, 2].any() and gradient[:, :2].any()


@pytest.mark.parametrize("strategy", STRATEGIES.parts)
def test_the_anchor_teaches_a_stream_whatever_its_strategy(strategy: str) -> None:
    distance = {}
    for weight in (0.0, 50.0):
        whole = spec(recipe={"strategy": strategy, "optimizer": FAST, "distillation": {"weight": weight}})
        one = Learner.create(whole, seed=7, limits=GateLimits(anchor_labels=400))
        play(one, world(400), size=100, updates=8)
        play(one, turned(world(320, 5000)), size=32, updates=4)
        distance[weight] = apart(one.module, one.promotion.anchor, one)
    assert distance[50.0] < 0.6 * distance[0.0]


def test_the_champion_at_its_fork_teaches_a_job() -> None:
    distance = {}
    for weight in (0.0, 50.0):
        one = learner(recipe={"optimizer": FAST, "memory": {"size": 10}, "gate": {"mode": "off", "holdout": 0}})
        play(one, world(400), size=32, updates=4)
        teacher = one.promotion.champion
        one.retrain("job", {"distillation": {"weight": weight}}, [], 10, turned(world(300, 5000)))
        play(one, world(64, 8000), size=32, updates=4)
        other = restored(one)
        for each in (one, other):
            each.finish(2)
        assert_same(one.state_dict(), other.state_dict())
        distance[weight] = apart(one.module, teacher, one)
    assert distance[50.0] < 0.6 * distance[0.0]

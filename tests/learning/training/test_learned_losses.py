"""A learner with every loss: what it counts for it, what it gains by it, and what becomes of one that fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.retraining.plan import RetrainPlan, check_retrain
from driftline.learning.retraining.recipe_changes import check_recipe
from driftline.learning.training.losses.custom import LossFailed
from driftline.networks.model import Model
from driftline.records import Plan
from driftline.spec.parts.losses import LOSSES
from tests.learning.conftest import (
    accuracy,
    assert_same,
    item,
    learner,
    play,
    spec,
    through_files,
    values,
    weights_of,
    world,
)

OWN = "tests.learning.functions:cross_entropy"
RAISING = "tests.learning.functions:raising"


def made(recipe: dict[str, Any], **changes: Any) -> Learner:
    return Learner.create(spec(recipe={"strategy": "replay", **recipe}, **changes), seed=7, factories=[OWN, RAISING])


def restored(one: Learner) -> Learner:
    return Learner.from_state(through_files(one.state_dict()), factories=one.factories)


@pytest.mark.parametrize("loss", [name for name in LOSSES.parts if "classification" in LOSSES.get(name).tasks])
def test_every_loss_goes_on_from_its_state_and_learns(loss: str) -> None:
    given = {"name": "custom", "function": OWN} if loss == "custom" else loss
    one = made({"loss": given, "optimizer": {"learning_rate": 0.01}}, classes="open")
    items = world(400, names=["a", "b"])
    play(one, items[:100])
    other = restored(one)
    for each in (one, other):
        play(each, items[100:], updates=4)
    assert_same(one.state_dict(), other.state_dict())
    assert accuracy(one, world(300, 9000, ["a", "b"])) > 0.8


@pytest.mark.parametrize("loss", [name for name in LOSSES.parts if "regression" in LOSSES.get(name).tasks])
def test_every_loss_of_a_regression_goes_on_from_its_state(loss: str) -> None:
    given = {"name": "custom", "function": OWN} if loss == "custom" else loss
    one, items = made({"loss": given}, task="regression", classes=None), values(200)
    play(one, items[:100])
    other = restored(one)
    for each in (one, other):
        play(each, items[100:])
    assert_same(one.state_dict(), other.state_dict())


def test_labels_are_counted_as_they_are_learned() -> None:
    one = learner(classes="open", recipe={"gate": {"holdout": 0}})
    play(one, [item([n, 0, 0, 0], ["a", "b", "a", "c"][n % 4]) for n in range(40)])
    assert one.course.state.counts.tolist() == [20, 10, 10] and one.course.state.labels == 40
    one.retrain("job", {}, [], 1, [item([9, 9, 9, n], "b") for n in range(5)])
    assert one.retraining is not None
    assert one.retraining.course.state.counts.tolist() == [20, 15, 10], "the replay buffer and what was given beside it"
    play(one, [item([n, 1, 0, 0], "c") for n in range(5)])
    one.finish(2)
    assert one.course.state.counts.tolist() == [20, 15, 15]


def test_rare_classes_are_answered_where_the_loss_knows_the_prior() -> None:
    """The two classes overlap, one is rare: plain cross-entropy answers the frequent one, the adjusted one both."""
    random = np.random.default_rng(0)
    labels = (random.random(1500) < 0.1).astype(int)
    rows = random.normal(size=(1500, 4)) + labels[:, None] * np.array([1.2, 0, 0, 0])
    items = [item(row, int(label)) for row, label in zip(rows, labels, strict=True)]
    recall = {}
    for loss in ("cross_entropy", "logit_adjusted", "class_balanced"):
        one = learner(recipe={"strategy": "finetune", "loss": loss, "gate": {"holdout": 0}})
        play(one, items, size=32, updates=4)
        recall[loss] = accuracy(one, [i for i in items if i.label == 1])
    assert recall["logit_adjusted"] > recall["cross_entropy"] + 0.3
    assert recall["class_balanced"] > recall["cross_entropy"] + 0.1


def test_a_loss_of_ones_own_that_fails_leaves_the_champion_and_says_why() -> None:
    one = made({})
    play(one, world(100))
    champion = {name: value.clone() for name, value in one.promotion.champion.state_dict().items()}
    one.change_recipe({"loss": {"name": "custom", "function": RAISING}})
    outcome = one.learn(world(3, 100), [101, 102, 103], Plan(updates=2, publish=True))
    assert set(outcome.quarantined.values()) == {"ValueError: no loss today"}
    assert all(torch.equal(value, champion[name]) for name, value in weights_of(one).items())
    one.change_recipe({"loss": "cross_entropy"})
    assert not one.learn(world(3, 110), [111, 112, 113], Plan(updates=2, publish=True)).quarantined


def test_a_job_whose_loss_fails_says_why_and_is_gone() -> None:
    one = made({})
    play(one, world(100))
    before = one.state_dict()
    one.retrain("job", {"loss": {"name": "custom", "function": RAISING}}, [], 1, [])
    assert one.retraining is not None
    with pytest.raises(LossFailed, match="ValueError: no loss today"):
        one.retraining.advance(1)
    one.cancel()
    assert_same(one.state_dict(), before)


def test_a_loss_of_ones_own_must_be_allowed() -> None:
    given = {"loss": {"name": "custom", "function": "tests.learning.functions:power"}}
    one = made({})
    for change in (
        lambda: made(given),
        lambda: one.change_recipe(given),
        lambda: one.retrain("job", given, [], 1, []),
        lambda: check_recipe(one.spec, [0, 1], given, [OWN]),
        lambda: check_retrain(Model(one.spec, [0, 1], one.module), RetrainPlan.of(one.spec, given), [OWN]),
    ):
        with pytest.raises(InvalidInput, match=r"recipe\.loss\.function: .*DRIFTLINE_FACTORIES") as refused:
            change()
        assert refused.value.code == "factory_not_allowed"
    missing = {"loss": {"name": "custom", "function": "tests.learning.functions:missing"}}
    with pytest.raises(InvalidInput, match=r"recipe\.loss\.function: .* failed: AttributeError"):
        check_recipe(one.spec, [0, 1], missing, ["tests.learning.functions:missing"])

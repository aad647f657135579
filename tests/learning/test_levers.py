"""Every lever of a recipe goes on from its state bit for bit, also beside a retrain job, and is pulled on a live model."""

from __future__ import annotations

from typing import Any

import pytest

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import GateLimits
from driftline.learning.retraining.recipe_changes import check_recipe
from driftline.records import Answer, Item
from driftline.spec import Recipe
from driftline.spec.parts.averaging import AVERAGINGS
from driftline.spec.parts.schedules import SCHEDULES
from tests.learning.conftest import accuracy, assert_same, learner, play, spec, through_files, weights_of, world

COLOURS = ["red", "green", 3, "blue"]
NETWORK = {
    "layers": [
        {"type": "linear", "features": 8},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "dropout", "share": 0.2},
        {"type": "linear", "features": 6},
        {"type": "relu"},
    ]
}

SCHEDULED: dict[str, dict[str, Any]] = {
    name: {"optimizer": {"schedule": {"name": name, **({} if name == "constant" else {"labels": 60})}}}
    for name in SCHEDULES.parts
}
AVERAGED: dict[str, dict[str, Any]] = {
    "ema": {"averaging": {"name": "ema", "decay": 0.9}},
    "swa": {"averaging": {"name": "swa", "every": 20, "most": 3}},
}
LEVERS: dict[str, dict[str, Any]] = {
    **SCHEDULED,
    **AVERAGED,
    "weights": {"loss": {"name": "cross_entropy", "weights": [2, 0.5]}},
    "distillation": {"distillation": {"weight": 2, "temperature": 3}},
    "layers": {"optimizer": {"layers": {"linear1": 0, "output": 2}, "discriminative": 0.5}},
    "nesterov": {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}},
    "l2_sp": {"l2_sp": {"strength": 0.1}},
    "max_norm": {"max_norm": {"limit": 0.5}},
    "refresh": {"refresh": {"rate": 0.01, "maturity": 5, "every": 2}},
    "shrink_and_perturb": {"shrink_and_perturb": {}},
    "repair": {"sanitize": "repair"},
    "all, with experts beside the network": {
        "strategy": "experts",
        "loss": "logit_adjusted",
        "distillation": {},
        "optimizer": {"layers": {"output": 2}, "schedule": "warm_restart", "discriminative": 0.9},
        "averaging": "ema",
        "l2_sp": {},
        "max_norm": {},
        "refresh": {"rate": 0.01, "maturity": 5},
        "shrink_and_perturb": {},
        "sanitize": "repair",
    },
}
EVERY_LEVER = pytest.mark.parametrize("lever", LEVERS)


LIMITS = GateLimits(anchor_labels=64)
"""The anchor moves early, so that there is one to distil from."""


def made(recipe: dict[str, Any], **changes: Any) -> Learner:
    return Learner.create(
        spec(recipe={"strategy": "replay", **recipe}, network=NETWORK, **changes), seed=7, limits=LIMITS
    )


def restored(one: Learner) -> Learner:
    return Learner.from_state(through_files(one.state_dict()), limits=LIMITS)


def right(items: list[Item]) -> list[Item]:
    found = []
    for each in items:
        assert not isinstance(each.label, float)
        found.append(Item(each.id, each.inputs, each.label, answer=Answer(1, each.label, bytes(8))))  # type: ignore[arg-type]
    return found


def stream(names: list[Any]) -> list[Item]:
    """Labels of two classes, then of all; rightly answered, then wrongly, so that there is an alarm; then right again."""
    early, late = world(120, names=names[:2]), world(250, 120, names)
    wrong = [Item(i.id, i.inputs, i.label, answer=Answer(1, "none", bytes(8))) for i in late[:150]]
    return [*right(early), *right(late[150:200]), *wrong, *right(late[200:])]


@EVERY_LEVER
def test_it_goes_on_from_its_state_bit_for_bit(lever: str) -> None:
    one, items = made(LEVERS[lever], classes="open"), stream(COLOURS)
    play(one, items[:110], size=32, updates=1)
    for start, end in ((110, 240), (240, 370)):
        other = restored(one)
        assert_same(one.state_dict(), other.state_dict())
        outcomes = [play(each, items[start:end], size=32, updates=1) for each in (one, other)]
        # As texts: the loss of a row whose class could not be known is no number.
        assert repr(outcomes[0]) == repr(outcomes[1])
        assert_same(one.state_dict(), other.state_dict())
    assert one.monitor.alarms and one.course.state.references.teacher is not None, (
        "there was an alarm, and a teacher to learn from"
    )


@EVERY_LEVER
def test_it_goes_on_bit_for_bit_while_a_retrain_runs(lever: str) -> None:
    one, items = made({}, classes="open"), stream(COLOURS)
    play(one, items[:110], size=32, updates=1)
    one.retrain("job", {**LEVERS[lever], "gate": {"mode": "off"}}, [], 3, items[:80])
    assert one.retraining is not None
    one.retraining.advance(2)
    play(one, items[110:140], size=32, updates=1)
    other = restored(one)
    for each in (one, other):
        assert each.retraining is not None
        each.retraining.advance(2)
        play(each, items[140:200], size=32, updates=1)
        assert each.finish(2).decision is not None
        play(each, items[200:320], size=32, updates=1)
    assert_same(one.state_dict(), other.state_dict())
    assert_same(restored(one).state_dict(), one.state_dict())


@EVERY_LEVER
def test_it_is_pulled_and_let_go_on_a_live_model(lever: str) -> None:
    one, items = made({}), right(world(300))
    play(one, items[:100], size=32, updates=1)
    one.change_recipe(LEVERS[lever])
    play(one, items[100:200], size=32, updates=1)
    before = Recipe.model_validate({"strategy": "replay"}).model_dump(mode="json")
    before["optimizer"]["layers"] = None
    one.change_recipe({name: before[name] for name in LEVERS[lever]})
    play(one, items[200:], size=32, updates=1)
    assert one.spec.recipe == Recipe.model_validate({"strategy": "replay"}) and one.course.candidate() is one.module
    assert_same(restored(one).state_dict(), one.state_dict())


@EVERY_LEVER
def test_what_there_is_to_learn_is_learned_with_it(lever: str) -> None:
    recipe = LEVERS[lever]
    fast = {"learning_rate": 0.02, **recipe.get("optimizer", {})}
    one = learner(recipe={"strategy": "replay", **recipe, "optimizer": fast})
    play(one, world(640), size=32, updates=4)
    assert accuracy(one, world(300, first=9000)) > 0.85


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "recipe.optimizer.layers.linear9": (
        {"optimizer": {"layers": {"linear9": 0.5}}},
        "there is no layer 'linear9' that learns; there are linear1, batch_norm1, linear2, output",
    ),
    "recipe.optimizer.layers.relu1": (
        {"optimizer": {"layers": {"relu1": 0.5}}},
        "there is no layer 'relu1' that learns",
    ),
    "recipe.optimizer.layers": (
        {"optimizer": {"layers": {"linear1": 0, "linear2": 0, "batch_norm1": 0, "output": 0}}},
        "every layer is frozen",
    ),
    "recipe.optimizer.discriminative": ({"optimizer": {"discriminative": 1.5}}, "less than or equal to 1, not 1.5"),
    "recipe.optimizer.schedule.floor": ({"optimizer": {"schedule": {"name": "plateau", "floor": 2}}}, "not 2"),
    "recipe.averaging.decay": ({"averaging": {"name": "ema", "decay": 1}}, "less than 1, not 1"),
    "recipe.l2_sp.version": ({"l2_sp": {"version": 7}}, "the weights of version 7 are not known here"),
    "recipe.sanitize": ({"sanitize": "ignore"}, "not 'ignore'"),
    "recipe.distillation.temperature": ({"distillation": {"temperature": 0}}, "greater than 0, not 0"),
    "recipe.optimizer.learning_rate": ({"optimizer": {"learning_rate": "find"}}, "not 'find'"),
}


@pytest.mark.parametrize("field", BAD)
def test_what_does_not_fit_is_refused_by_name_and_value_and_changes_nothing(field: str) -> None:
    recipe, message = BAD[field]
    one = made({})
    play(one, world(40))
    before = one.state_dict()
    with pytest.raises(InvalidInput) as refused:
        one.change_recipe(recipe)
    assert refused.value.details["field"] == field
    assert refused.value.message.startswith(f"{field}: ") and message in refused.value.message
    assert_same(one.state_dict(), before)


def test_units_are_refreshed_only_where_it_is_known_what_takes_them() -> None:
    flat = {"layers": [{"type": "flatten"}]}
    with pytest.raises(InvalidInput, match=r"recipe\.refresh: the network is no sequence"):
        check_recipe(spec(network=flat), [0, 1], {"refresh": {}}, [])


def test_every_averaging_is_among_the_levers() -> None:
    assert AVERAGED.keys() == AVERAGINGS.parts.keys()


def test_a_rollback_to_a_network_that_the_recipe_does_not_fit_brings_its_own_recipe_back() -> None:
    one = made({})
    play(one, world(64))
    spec_then, weights = one.spec, weights_of(one)
    one.retrain(
        "job", {"gate": {"mode": "off"}}, [{"type": "insert", "layer": {"type": "linear", "features": 4}}], 1, []
    )
    one.finish(2)
    (added,) = {layer.name for layer in one.spec.network.layers} - {  # type: ignore[union-attr]
        "linear1",
        "linear2",
        "relu1",
        "relu2",
        "batch_norm1",
        "dropout1",
    }
    one.change_recipe({"optimizer": {"layers": {added: 0.5}}, "batch_size": 8})
    one.rollback(spec_then, one.classes, weights, 9)
    assert one.spec.recipe == spec_then.recipe
    one.change_recipe({"batch_size": 8})
    one.rollback(spec_then, one.classes, weights, 9)
    assert one.spec.recipe.batch_size == 8, "where it fits it stays"
    play(one, world(64, 64))
    assert_same(restored(one).state_dict(), one.state_dict())

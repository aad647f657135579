"""What each hook does to the weights beside the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.training.hooks.hidden_units import contributions, hidden_layers
from driftline.learning.training.hooks.refresh import RefreshHook
from driftline.records import Item
from tests.learning.conftest import (
    answered,
    assert_same,
    examples_of,
    item,
    learner,
    origin_of,
    play,
    restored,
    turned,
    weights_of,
    world,
)

CONVOLUTION = {
    "layers": [
        {"type": "reshape", "shape": [1, 2, 2]},
        {"type": "conv2d", "channels": 3, "kernel": 1},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "flatten"},
        {"type": "linear", "features": 5},
        {"type": "relu"},
    ]
}


def weights(one: Learner) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in one.module.named_parameters()}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float(((value - other[name]) ** 2).sum()) for name, value in one.items()))


def played(recipe: dict[str, Any], items: list[Item], **changes: Any) -> Learner:
    one = learner(recipe={"strategy": "replay", "gate": {"holdout": 0}, **recipe}, **changes)
    play(one, items, size=32, updates=4)
    return one


def test_weights_stay_near_those_of_a_named_version() -> None:
    moved = {}
    for strength in (0.0, 10.0):
        one = played({"optimizer": {"name": "sgd", "learning_rate": 0.05}}, world(320))
        version, start = weights_of(one), weights(one)
        one.change_recipe({"l2_sp": {"version": 3, "strength": strength}}, {3: version})
        play(one, turned(world(320, 500)), size=32, updates=4)
        moved[strength] = distance(weights(one), start)
    assert moved[10.0] < 0.3 * moved[0.0]


def test_what_a_named_version_weighed_is_kept_in_the_state_and_given_to_a_job() -> None:
    one = played({}, world(64))
    version = weights_of(one)
    one.change_recipe({"l2_sp": {"version": 3}}, {3: version})
    play(one, world(64, 64))
    one.change_recipe({"l2_sp": {"strength": 0.1}})
    other = restored(one)
    for each in (one, other):
        each.retrain("job", {"l2_sp": {"strength": 0.2}}, [], 2, [])
        assert each.retraining is not None
        origin = origin_of(each.retraining.course)
        assert torch.equal(origin["output.weight"], version["output.weight"])
        each.finish(2)
        play(each, world(64, 128))
    assert_same(one.state_dict(), other.state_dict())


def test_classes_that_a_version_did_not_know_are_free() -> None:
    one = learner(classes="open", recipe={"gate": {"holdout": 0}})
    play(one, world(64, names=["a", "b"]))
    one.change_recipe({"l2_sp": {"version": 1, "strength": 1000}}, {1: weights_of(one)})
    play(one, [item([1, 2, 3, n], "c") for n in range(40)])
    rows = one.module.output.get_parameter("weight").detach()
    assert rows[2].abs().max() > 0


def test_a_version_that_is_not_at_hand_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"recipe\.l2_sp\.version: the weights of version 2 are not known here"):
        learner().retrain("job", {"l2_sp": {"version": 2}}, [], 1, [])


@pytest.mark.parametrize("network", [{"preset": "mlp", "hidden": [8]}, CONVOLUTION], ids=["linear", "convolution"])
def test_no_unit_takes_in_more_than_its_limit(network: dict[str, Any]) -> None:
    one = played({"max_norm": {"limit": 0.4}, "optimizer": {"learning_rate": 0.05}}, world(200), network=network)
    for layer in one.module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert float(layer.weight.detach().flatten(1).norm(dim=1).max()) <= 0.4 + 1e-5


def test_at_an_alarm_weights_shrink_and_are_disturbed() -> None:
    one = played({"shrink_and_perturb": {"shrink": 0.5, "noise": 0}}, answered(world(320), is_right=True))
    before = weights(one)
    with one.course.state.drawing():
        one.course.on_drift(one.replay_buffer, 0)
    assert all(torch.equal(value, 0.5 * before[name]) for name, value in weights(one).items())
    assert not one.course.state.optimizer.state
    one.change_recipe({"shrink_and_perturb": {"noise": 1}})
    with one.course.state.drawing():
        one.course.on_drift(one.replay_buffer, 0)
    assert all(not torch.equal(value, 0.25 * before[name]) for name, value in weights(one).items())


@pytest.mark.parametrize("number", [math.nan, math.inf, -1e12])
def test_weights_that_are_broken_are_repaired_from_the_champion(number: float) -> None:
    """By an update that breaks them, as one of a wild optimizer can."""
    found = {}
    for sanitize in ("refuse", "repair"):
        one = played({"sanitize": sanitize}, world(320))
        champion = one.promotion.champion.state_dict()["output.weight"].clone()
        one.course.state.optimizer.register_step_post_hook(_breaking(one, number))
        outcomes = play(one, world(32, 400), size=32, updates=1)
        found[sanitize] = outcomes[-1].decision
        if sanitize == "repair":
            assert torch.equal(one.module.output.get_parameter("weight")[0, :2].detach(), champion[0, :2])
            assert one.metrics()["repaired"] == 2
            assert not one.course.state.optimizer_state()["output.weight.exp_avg"].any(), (
                "and forgotten by the optimizer"
            )
    assert found["repair"] is not None and found["repair"].promoted
    if not math.isfinite(number):
        assert found["refuse"] is not None and found["refuse"].reason == "its weights are not finite"


def _breaking(one: Learner, number: float) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        with torch.no_grad():
            one.module.output.get_parameter("weight")[0, :2] = number

    return hook


@pytest.mark.parametrize("network", [{"preset": "mlp", "hidden": [8, 6]}, CONVOLUTION], ids=["linear", "convolution"])
def test_hidden_units_are_found_with_what_takes_them(network: dict[str, Any]) -> None:
    one = played({}, world(64), network=network)
    first, second = hidden_layers(one.module)
    assert (first.units, second.units) == ((3, 5) if network is CONVOLUTION else (8, 6))
    assert second.behind == "output" and list(first.norms) == (
        ["network.batch_norm1"] if network is CONVOLUTION else []
    )
    rows = examples_of(one, world(20)).inputs
    for layer, contribution in contributions(one.module, rows):
        assert contribution.shape == (layer.units,) and bool((contribution >= 0).all())


def test_a_unit_that_nothing_takes_in_contributes_nothing_and_goes_first() -> None:
    one = played({}, world(200))
    with torch.no_grad():
        one.module.output.get_parameter("weight")[:, 3] = 0
    ((layer, contribution),) = contributions(one.module, examples_of(one, world(50)).inputs)
    assert contribution[3] == 0 and int((contribution == 0).sum()) <= 3
    one.change_recipe({"refresh": {"rate": 0.01, "maturity": 0, "every": 1}})
    hook, before = one.course.weight_hooks.by_field["refresh"], layer.maker.weight.detach().clone()
    assert isinstance(hook, RefreshHook)
    utility, age = hook.utility[layer.path], hook.age[layer.path]
    utility.fill_(1.0)
    utility[3] = 0.0
    play(one, world(32, 500), size=32, updates=13)
    moved = (layer.maker.weight.detach() - before).abs().amax(1)
    assert int(moved.argmax()) == 3 and age[3] < age.max()


@pytest.mark.parametrize("network", [{"preset": "mlp", "hidden": [8]}, CONVOLUTION], ids=["linear", "convolution"])
def test_a_new_unit_is_not_taken_in_at_first_and_the_others_stay(network: dict[str, Any]) -> None:
    one = played({}, world(200), network=network)
    layer, rows = hidden_layers(one.module)[0], examples_of(one, world(50)).inputs
    with torch.no_grad():
        width = layer.taker.weight.shape[1] // layer.units
        layer.taker.weight[:, width : 2 * width] = 0
        before = one.module.eval()(rows)
        kept = layer.maker.weight[0].clone()
        layer.renew(1, one.course.state)
        assert torch.allclose(one.module.eval()(rows), before, atol=1e-6)
        assert torch.equal(layer.maker.weight[0], kept)
    moment = one.course.state.optimizer_state()[f"{layer.behind}.weight.exp_avg"]
    assert not moment[:, width : 2 * width].any() and moment.any()
    assert not one.course.state.optimizer_state()[f"{layer.weight}.exp_avg"][1].any()


def test_units_that_died_live_again() -> None:
    """Dead relu units give zero for every row, and no gradient ever reaches them."""
    living = {}
    for recipe in ({}, {"refresh": {"rate": 0.02, "maturity": 20, "every": 1}}):
        one = played({}, world(200))
        with torch.no_grad():
            one.module.network.get_parameter("linear1.bias")[:6] = -100
        one.change_recipe(recipe or {"batch_size": 32})
        play(one, world(800, 500), size=32, updates=4)
        ((_, contribution),) = contributions(one.module, examples_of(one, world(100)).inputs)
        living[bool(recipe)] = int((contribution > 0).sum())
    assert living[True] > living[False] + 3

"""Every optimizer goes on from its state as if nothing had happened."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from driftline.errors import InvalidInput
from driftline.learning.training.optimizers import TORCH_NAMES, OptimizerFactory, load_state, state_of
from driftline.networks import bundle
from driftline.spec import parse
from driftline.spec.parts.optimizer import HAS_MOMENTUM, Optimizer
from tests.learning.conftest import learner, play, world

RECIPES: list[dict[str, Any]] = [
    *({"name": name} for name in TORCH_NAMES),
    *({"name": name, "momentum": 0.9, "weight_decay": 0.01} for name in sorted(HAS_MOMENTUM)),
    {"name": "adamw", "weight_decay": 0.5, "learning_rate": 0.1},
    {"name": "sgd", "momentum": 0.9, "nesterov": True},
    {"name": "adamw", "layers": {"0": 0.5}, "discriminative": 0.7},
]


def network() -> nn.Module:
    """Parameters of several shapes, a scalar and one that gets no gradient."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2))
    found.scalar = nn.Parameter(torch.tensor(0.5))
    found.unused = nn.Parameter(torch.ones(2))
    return found


def built(recipe: dict[str, Any], module: nn.Module) -> torch.optim.Optimizer:
    return OptimizerFactory(parse(Optimizer, recipe)).build(module)


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def update(module: nn.Module, optimizer: torch.optim.Optimizer, times: int = 2, first: int = 0) -> None:
    for n in range(first, first + times):
        rows = torch.randn((5, 3), generator=torch.Generator().manual_seed(n))
        module.zero_grad()
        (module(rows) * module.scalar).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("updates", [0, 1, 7])
def test_two_updates_after_a_round_trip_give_the_same_bits(recipe: dict[str, Any], updates: int) -> None:
    one = network()
    optimizer = built(recipe, one)
    update(one, optimizer, updates)
    other = network()
    other.load_state_dict(one.state_dict())
    copy = built(recipe, other)
    state = bundle.weights_from_bytes(bundle.weights_to_bytes(state_of(optimizer, names(one))))
    before = {name: value.clone() for name, value in state.items()}
    load_state(copy, names(other), state)
    update(one, optimizer, first=100)
    update(other, copy, first=100)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(state[name], value) for name, value in before.items()), "the state itself stays"


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_it_is_torchs_own_to_the_last_bit(recipe: dict[str, Any]) -> None:
    one, other = network(), network()
    optimizer, again = built(recipe, one), built(recipe, other)
    (kind,) = type(again).__bases__
    assert kind.__module__.startswith("torch.optim.")
    update(one, optimizer, 3)
    update(other, kind(again.param_groups), 3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_none_loads_the_compiler_of_torch() -> None:
    program = """
import sys
from tests.learning.training.test_optimizers import TORCH_NAMES, built, network, update
for name in TORCH_NAMES:
    module = network()
    update(module, built({"name": name}, module))
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_it_makes_the_loss_smaller(recipe: dict[str, Any]) -> None:
    module = network()
    rows = torch.randn((5, 3), generator=torch.Generator().manual_seed(0))
    optimizer = built(recipe | {"learning_rate": 0.001}, module)
    before = module(rows).square().sum().item()
    for _ in range(10):
        optimizer.zero_grad()
        module(rows).square().sum().backward()
        optimizer.step()
    assert module(rows).square().sum().item() < before


def test_parameters_that_are_frozen_stay() -> None:
    module = network()
    frozen = next(module.parameters())
    frozen.requires_grad = False
    before = frozen.clone()
    update(module, built({"weight_decay": 0.1}, module))
    assert torch.equal(frozen, before)


@pytest.mark.parametrize("name", sorted(TORCH_NAMES.keys() - HAS_MOMENTUM))
def test_momentum_is_refused_by_those_that_have_none(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name} has no momentum; rmsprop and sgd have"):
        parse(Optimizer, {"name": name, "momentum": 0.9})


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"name": "sgd", "nesterov": True}, "nesterov needs sgd with a momentum"),
        ({"name": "rmsprop", "momentum": 0.9, "nesterov": True}, "nesterov needs sgd with a momentum"),
        ({"name": "rprop", "weight_decay": 0.1}, "rprop has a rate of its own for each weight"),
        ({"name": "rprop", "schedule": "warmup"}, "rprop has a rate of its own for each weight"),
    ],
)
def test_what_an_optimizer_does_not_have_is_refused(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(Optimizer, recipe)


def rates(recipe: dict[str, Any], module: nn.Module) -> dict[str, float]:
    factory = OptimizerFactory(parse(Optimizer, {"learning_rate": 0.1, **recipe}))
    found = [group["lr"] for group in factory.build(module).param_groups for _ in group["params"]]
    return dict(zip(factory.trained(module), found, strict=True))


def test_each_layer_has_its_rate() -> None:
    one = learner(
        network={"layers": [{"type": "linear", "features": 3}, {"type": "relu"}, {"type": "linear", "features": 2}]}
    )
    found = rates({"layers": {"linear1": 0.5, "output": 2}, "discriminative": 0.8}, one.module)
    expected = {"network.linear1": 0.1 * 0.5 * 0.64, "network.linear2": 0.1 * 0.8, "output": 0.2}
    assert found == pytest.approx(
        {f"{layer}.{kind}": rate for layer, rate in expected.items() for kind in ("weight", "bias")}
    )


def test_the_longest_path_of_a_submodule_counts() -> None:
    module = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 2))
    found = rates({"layers": {"0": 0, "0.1": 0.5}}, module)
    assert found == {"0.1.weight": 0.05, "0.1.bias": 0.05, "1.weight": 0.1, "1.bias": 0.1}


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_a_layer_with_a_rate_of_0_stays_with_its_statistics(name: str) -> None:
    layers = [{"type": "linear", "features": 3}, {"type": "batch_norm"}, {"type": "relu"}]
    one = learner(
        network={"layers": layers},
        recipe={"optimizer": {"name": name, "layers": {"linear1": 0, "batch_norm1": 0}}},
    )
    before = {key: value.clone() for key, value in one.module.network.state_dict().items()}
    output = one.module.output.get_parameter("weight").clone()
    play(one, world(64))
    assert all(torch.equal(value, before[key]) for key, value in one.module.network.state_dict().items())
    assert not torch.equal(one.module.output.get_parameter("weight"), output)


def test_another_rate_keeps_what_the_optimizer_knows() -> None:
    one = learner()
    play(one, world(64))
    before = one.course.state.optimizer_state()
    one.change_recipe({"optimizer": {"learning_rate": 0.5, "layers": {"output": 0.1}, "clip": 1}})
    after = one.course.state.optimizer_state()
    assert before and all(torch.equal(value, after[name]) for name, value in before.items())
    assert [group["lr"] for group in one.course.state.optimizer.param_groups] == [0.5, 0.05]
    one.change_recipe({"optimizer": {"name": "sgd"}})
    assert not one.course.state.optimizer.state

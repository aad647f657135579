"""The optimizer goes on where parameters were kept, and begins again where they are new."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline.learning.course import Course
from driftline.learning.examples import Examples
from driftline.learning.stateful import undeclared
from driftline.learning.training.optimizers import TORCH_NAMES
from driftline.learning.training.train_state import TrainState
from driftline.networks.build import build
from driftline.networks.edits import apply_all
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.spec.classes import ClassTable
from driftline.spec.parts.edits import parse_edits


def trained(optimizer: str, **changes: Any) -> Course:
    """A course after some updates."""
    given = {
        "name": "m",
        "task": "classification",
        "classes": ["a", "b", "c"],
        "inputs": {"shape": [4]},
        "network": {"layers": [{"type": "linear", "features": 3}, {"type": "batch_norm"}, {"type": "relu"}]},
        "recipe": {"optimizer": {"name": optimizer, **({"momentum": 0.9} if optimizer == "sgd" else {})}},
    }
    spec = parse(ModelSpec, given | changes)
    course = Course.begin(Model(spec, ["a", "b", "c"], build(spec, ["a", "b", "c"], seed=0)), ClassTable(), seed=0)
    train(course)
    return course


def train(course: Course, count: int = 3) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = {"inputs": torch.randn((6, 4), generator=generator)}
    targets = torch.tensor(course.state.table.add(course.classes[:2]) * 3)
    for _ in range(count):
        assert course.step(Examples(inputs, targets, torch.ones(6))) is None


def state(course: Course) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in course.state.optimizer_state().items()}


def edit(course: Course, *edits: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The optimizer's state before and after some edits."""
    before = state(course)
    after = apply_all(parse_edits(edits), Model(course.spec, ["a", "b", "c"], course.module))
    course.replace(after)
    found = state(course)
    train(course)
    return before, found


def test_a_train_state_goes_on_from_its_state() -> None:
    course = trained("adamw")
    one, other = (
        course.state,
        TrainState(Model(course.spec, course.classes, copy.deepcopy(course.module)), course.state.table, 9),
    )
    one.count(Examples({}, torch.tensor([0, 2, 2]), torch.ones(3)))
    other.load_state_dict(one.state_dict())
    assert not undeclared(one)
    assert (other.labels, other.counts.tolist()) == (one.labels, [1, 0, 2])
    with one.drawing():
        ours = torch.rand(3)
    with other.drawing():
        theirs = torch.rand(3)
    assert torch.equal(ours, theirs)
    assert torch.equal(torch.rand(3, generator=one.generator), torch.rand(3, generator=other.generator))
    assert all(torch.equal(value, other.optimizer_state()[name]) for name, value in one.optimizer_state().items())


@pytest.mark.parametrize("optimizer", sorted(TORCH_NAMES))
def test_the_state_survives_what_is_beside_it(optimizer: str) -> None:
    before, after = edit(
        trained(optimizer), {"type": "insert", "after": "relu1", "layer": {"type": "linear", "features": 3}}
    )
    assert all(torch.equal(before[key], after[key]) for key in before)
    # Adagrad has a state before its first update.
    new = {key for key in after if key not in before and after[key].count_nonzero()}
    assert not new


@pytest.mark.parametrize("optimizer", sorted(TORCH_NAMES))
def test_a_wider_layer_keeps_the_state_of_its_first_units(optimizer: str) -> None:
    before, after = edit(trained(optimizer), {"type": "widen", "layer": "linear1", "features": 5})
    assert before.keys() == after.keys()
    for key, value in before.items():
        kept = after[key]
        if value.dim() and ("linear1" in key or "batch_norm1" in key):
            assert torch.equal(kept[:3], value) and not kept[3:].any()
        elif value.dim() == 2:
            assert torch.equal(kept[:, :3], value) and not kept[:, 3:].any()
        else:
            assert torch.equal(kept, value)


def test_several_edits_carry_as_one() -> None:
    before, after = edit(
        trained("adamw"),
        {"type": "concatenate", "branch": [{"type": "linear", "features": 2}]},
        {"type": "widen", "layer": "linear1", "features": 4},
        {"type": "prune", "layer": "linear1", "units": [1]},
        {"type": "remove_classes", "classes": ["b"]},
    )
    old, new = before["network.linear1.weight.exp_avg"], after["network.main.linear1.weight.exp_avg"]
    assert torch.equal(new, torch.stack([old[0], old[2], torch.zeros(4)]))
    old, new = before["output.weight.exp_avg"], after["output.weight.exp_avg"]
    assert torch.equal(new[:, :2], old[[0, 2]][:, [0, 2]]) and not new[:, 2:].any()


def test_an_adapter_and_what_is_drawn_anew_begin_anew() -> None:
    before, after = edit(trained("adamw"), {"type": "adapter", "rank": 2}, {"type": "replace_head"})
    assert {key.split(".")[1] for key in after} == {"batch_norm1"}
    assert all(torch.equal(before[key], value) for key, value in after.items())


def test_a_frozen_layer_stays_as_it_is_and_goes_on_when_it_is_not() -> None:
    course = trained("adamw")
    edit(course, {"type": "freeze"})
    frozen = {name: value.clone() for name, value in course.module.state_dict().items()}
    train(course)
    moved = {name for name, value in course.module.state_dict().items() if not torch.equal(value, frozen[name])}
    assert moved == {"output.weight", "output.bias"}
    edit(course, {"type": "unfreeze"})
    assert not torch.equal(course.module.state_dict()["network.linear1.weight"], frozen["network.linear1.weight"])


def test_copies_of_a_unit_learn_different_things() -> None:
    course = trained("adamw")
    edit(course, {"type": "widen", "layer": "linear1", "features": 6})
    train(course, 20)
    weight = course.module.get_parameter("network.linear1.weight")
    assert (weight[:3] - weight[3:]).abs().amax(1).min() > 1e-3

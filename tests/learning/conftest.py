"""Small streams of labels, and learners that learn them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from driftline.learning.course import Course
from driftline.learning.examples import Examples
from driftline.learning.learner import Learner
from driftline.learning.stateful import State
from driftline.learning.step_result import StepResult
from driftline.learning.training.hooks.l2_sp import L2SPHook
from driftline.networks import bundle
from driftline.records import Answer, Item, Label, Plan, Route
from driftline.spec import ModelSpec, parse

WIDTH = 4


def spec(**changes: Any) -> ModelSpec:
    """A small spec of two classes, of the network alone: what is about experts names their strategy, which takes far longer."""
    small = {"preset": "mlp", "hidden": [8]}
    whole = {"name": "m", "task": "classification", "inputs": {"shape": [WIDTH]}, "classes": [0, 1], "network": small}
    return parse(ModelSpec, whole | changes | {"recipe": {"strategy": "replay", **changes.get("recipe", {})}})


def learner(**changes: Any) -> Learner:
    return Learner.create(spec(**changes), seed=7)


def item(row: Sequence[float] | NDArray[np.floating], label: Label, name: str = "i", **changes: Any) -> Item:
    return Item(name, {"inputs": np.asarray(row, np.float32).tobytes()}, label, **changes)


def world(count: int, first: int = 0, names: Sequence[int | str] = (0, 1), route: Route = "live") -> list[Item]:
    """Items whose class is told by the first number: the higher it is, the later in ``names``."""
    rows = np.random.default_rng(first + 1).normal(size=(count, WIDTH)).astype(np.float32)
    cuts = np.quantile(rows[:, 0], np.arange(1, len(names)) / len(names)) if len(names) > 2 else [0.0]
    labels = np.searchsorted(cuts, rows[:, 0])
    pairs = zip(rows, labels, strict=True)
    return [item(row, names[label], f"i{first + n}", route=route) for n, (row, label) in enumerate(pairs)]


def values(count: int, first: int = 0) -> list[Item]:
    """Items of a regression: around 1000, in steps of the first number."""
    rows = np.random.default_rng(first + 1).normal(size=(count, WIDTH)).astype(np.float32)
    return [item(row, float(1000 + 50 * row[0]), f"i{first + n}") for n, row in enumerate(rows)]


def row_of(item: Item) -> NDArray[np.float32]:
    return np.frombuffer(item.inputs["inputs"], np.float32)


def turned(items: Sequence[Item]) -> list[Item]:
    """The same rows, each with the other of two classes."""
    return [Item(i.id, i.inputs, 1 - int(i.label)) for i in items]  # type: ignore[arg-type]


def answered(
    items: Sequence[Item], is_right: bool, version: int = 1, route: Route = "live", outputs: bytes = bytes(8)
) -> list[Item]:
    """Items of two classes as if a version had served them, and rightly or wrongly so."""
    return [
        msgspec.structs.replace(i, route=route, answer=Answer(version, int(i.label) ^ (not is_right), outputs))  # type: ignore[arg-type]
        for i in items
    ]


def play(learner: Learner, items: Sequence[Item], size: int = 16, updates: int = 2) -> list[StepResult]:
    """Learns items in steps of ``size``, each of which publishes."""
    return [
        learner.learn(items[start : start + size], range(start + 1, start + 1 + len(items[start : start + size])), plan)
        for start in range(0, len(items), size)
        for plan in [Plan(updates=updates, publish=True)]
    ]


def served(learner: Learner, items: Sequence[Item], version: int = 1) -> list[Item]:
    """The items with the answers that are served to them, of a task whose answers name no single class."""
    rows = torch.from_numpy(np.stack([row_of(each) for each in items]))
    with torch.no_grad():
        outputs = learner.served.eval().answer({"inputs": rows})[0].numpy()
    pairs = zip(items, outputs, strict=True)
    return [msgspec.structs.replace(each, answer=Answer(version, None, row.tobytes())) for each, row in pairs]


def teach_served(learner: Learner, labelled: Callable[[int, int], list[Item]], count: int, first: int) -> None:
    """Learns the items that ``labelled(count, first)`` gives, in steps of twenty: each is served before, and published."""
    for start in range(first, first + count, 20):
        version = 1 + start // 20
        items = served(learner, labelled(20, start), version)
        learner.learn(items, range(start + 1, start + 21), Plan(4, publish=True, version=version + 1))


def through_files(state: State) -> State:
    """The state as a checkpoint gives it back."""
    tensors = bundle.weights_from_bytes(bundle.weights_to_bytes(state.tensors))
    return State(tensors, msgspec.json.decode(msgspec.json.encode(state.data)))


def restored(learner: Learner) -> Learner:
    """Another learner that goes on from the state, as after a crash."""
    return Learner.from_state(through_files(learner.state_dict()))


def assert_same(one: State, other: State) -> None:
    """Bit for bit."""
    assert json.dumps(one.data, sort_keys=True) == json.dumps(other.data, sort_keys=True)
    assert one.tensors.keys() == other.tensors.keys()
    differing = [name for name, tensor in one.tensors.items() if not _are_same(tensor, other.tensors[name])]
    assert not differing


def _are_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    shapes = (one.shape, one.dtype) == (other.shape, other.dtype)
    return shapes and one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    """A copy of what is served."""
    return {name: value.detach().clone() for name, value in learner.served.state_dict().items()}


def origin_of(course: Course) -> dict[str, torch.Tensor]:
    """The weights that ``l2_sp`` pulls those of a course towards."""
    hook = course.weight_hooks.by_field["l2_sp"]
    assert isinstance(hook, L2SPHook)
    return hook.origin


def accuracy(learner: Learner, items: Sequence[Item]) -> float:
    """Of the champion."""
    examples = examples_of(learner, items)
    champion = learner.promotion.champion.eval()
    with torch.no_grad():
        answers = champion.predict(examples.inputs).argmax(1)
    return float((answers == champion.positions(examples.targets)).float().mean())


def examples_of(learner: Learner, items: Sequence[Item]) -> Examples:
    return Examples.of(learner.spec, items, learner.class_table.ids)

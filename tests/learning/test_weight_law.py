"""The weight of a label is a law: one of weight 0 changes nothing, whatever learns, keeps, measures or watches."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from driftline.learning.learner import Learner
from driftline.learning.monitoring.prequential import Prequential
from driftline.records import Answer, Item, Plan
from driftline.spec.classes import indices_of
from driftline.spec.parts.detectors import DETECTORS
from driftline.spec.parts.losses import LOSSES
from driftline.spec.parts.replay_policies import REPLAY_POLICIES
from driftline.spec.parts.strategies import STRATEGIES
from driftline.spec.value_layout import ValueLayout
from tests.learning.conftest import assert_same, item, learner, row_of, values, world

RECIPES = [
    *({"strategy": name} for name in STRATEGIES.parts),
    *({"strategy": "replay", "memory": {"name": name, "size": 40}} for name in REPLAY_POLICIES.parts),
    *({"strategy": "replay", "detector": name} for name in DETECTORS.parts),
    {"strategy": "replay", "loss": "class_balanced"},
    {"decide": "balanced", "on_alarm": "shorten", "input_detector": {"reference": 60, "recent": 50}},
]


def lived(items: list[Item], seed: int) -> list[Item]:
    """Items of two classes with answers that were mostly right, until they turn wrong."""
    random, found = np.random.default_rng(seed), []
    for place, one in enumerate(items):
        chance = np.float32(random.uniform(0.5, 1))
        is_right = random.random() < (0.9 if place < len(items) * 2 // 3 else 0.3)
        label = int(one.label) if is_right else 1 - int(one.label)  # type: ignore[arg-type]
        outputs = np.array([1 - chance, chance] if label else [chance, 1 - chance], np.float32)
        found.append(msgspec.structs.replace(one, answer=Answer(1, label, outputs.tobytes())))
    return found


def weightless(count: int, labels: list[int], seed: int) -> list[Item]:
    """Rows far away, some of classes that are unknown, some with answers that were wrong, some of the past."""
    random, found = np.random.default_rng(seed), []
    for place in range(count):
        label = labels[place % len(labels)]
        one = item(100 * random.normal(size=4), label, f"z{seed}-{place}", weight=0.0)
        if place % 3 == 0:
            one = msgspec.structs.replace(
                one, answer=Answer(1, 1 - label % 2, np.array([0.5, 0.5], np.float32).tobytes())
            )
        elif place % 3 == 1:
            one = msgspec.structs.replace(one, route="import", delay=place % 4)
        found.append(one)
    return found


def taught(one: Learner, steps: list[list[Item]], only_those_that_count: bool, at_once: int = 0) -> Learner:
    """Learns steps of items, those of weight 0 among them or left out; numbers and plans are the same."""
    n = 0
    for step in steps:
        numbered = list(enumerate(step, n + 1))
        n += len(step)
        if only_those_that_count:
            numbered = [(number, each) for number, each in numbered if each.weight > 0]
        if numbered:
            plan = Plan(2, publish=True, version=2, at_once=at_once)
            one.learn([each for _, each in numbered], [number for number, _ in numbered], plan)
    return one


def steps_of(items: list[Item], labels: list[int]) -> list[list[Item]]:
    """Steps of sixteen items with others of weight 0 among them, and steps of such items alone."""
    random, found = np.random.default_rng(1), []
    for start in range(0, len(items), 16):
        step = list(items[start : start + 16])
        for each in weightless(7, labels, start):
            step.insert(int(random.integers(len(step) + 1)), each)
        found += [step, weightless(3, labels, start + 1)]
    return found


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_label_of_weight_0_changes_nothing_of_a_classification(recipe: dict[str, object]) -> None:
    steps = steps_of(lived(world(200), 0), [0, 1, 7])
    both = [taught(learner(classes="open", recipe=recipe), steps, is_left_out) for is_left_out in (False, True)]
    assert both[0].metrics() == both[1].metrics()
    assert_same(both[0].state_dict(), both[1].state_dict())


@pytest.mark.parametrize("strategy", [name for name, part in STRATEGIES.parts.items() if "regression" in part.tasks])
def test_a_label_of_weight_0_changes_nothing_of_a_regression(strategy: str) -> None:
    steps = steps_of(values(160), [10**6, -5])
    spec = {"task": "regression", "classes": None, "intervals": [0.1, 0.9], "recipe": {"strategy": strategy}}
    both = [taught(learner(**spec), steps, is_left_out) for is_left_out in (False, True)]
    assert both[0].metrics() == both[1].metrics()
    assert_same(both[0].state_dict(), both[1].state_dict())


def test_the_parts_of_a_large_step_are_of_labels_that_count() -> None:
    items = lived(world(96), 0)
    steps = [[each for pair in zip(items, weightless(96, [0, 1], 3), strict=True) for each in pair]]
    both = [taught(learner(), steps, is_left_out, at_once=32) for is_left_out in (False, True)]
    assert_same(both[0].state_dict(), both[1].state_dict())


def test_late_labels_are_learned_when_they_are_known_whatever_comes_then() -> None:
    past = [msgspec.structs.replace(each, route="import", delay=5) for each in world(4)]
    one = taught(learner(recipe={"strategy": "replay"}), [past], False)
    assert one.learned == 0
    one.learn(weightless(6, [0, 1], 9), range(5, 11), Plan(1, publish=False))
    assert one.learned == 4


def shown(found: Prequential) -> dict[str, object]:
    whole = found.shown()
    return {**whole, "window": {name: value for name, value in whole["window"].items() if name != "size"}}


def assert_close(one: object, other: object) -> None:
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_close(one[name], other[name])
    elif isinstance(one, list) and isinstance(other, list):
        for pair in zip(one, other, strict=True):
            assert_close(*pair)
    else:
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("size", [1000, 60])
def test_a_label_of_weight_2_is_scored_as_two_of_them(size: int) -> None:
    items, places = lived(world(100), 2), indices_of([0, 1])
    whole, twice = (Prequential(is_regression=False, size=size * times) for times in (1, 2))
    for n, each in enumerate(items):
        whole.add([whole.score(n, msgspec.structs.replace(each, weight=2.0), places)])
        for _ in range(2):
            twice.add([twice.score(n, each, places)])
    assert_close(shown(whole), shown(twice))


@pytest.mark.parametrize("layout", [ValueLayout(), ValueLayout(1, False, None, (0.1, 0.9))])
def test_a_value_of_weight_2_is_scored_as_two_of_them(layout: ValueLayout) -> None:
    whole, twice = (Prequential(is_regression=True, layout=layout) for _ in range(2))
    for n, each in enumerate(values(50)):
        centre = 1000 + 40 * row_of(each)[0]
        served = msgspec.structs.replace(
            each,
            answer=Answer(
                1, None, np.array([centre, centre - 20, centre + 20][: 1 + len(layout.levels)], np.float32).tobytes()
            ),
        )
        whole.add([whole.score(n, msgspec.structs.replace(served, weight=2.0))])
        for _ in range(2):
            twice.add([twice.score(n, served)])
    assert_close(shown(whole), shown(twice))


def test_every_loss_has_a_row_of_weight_0_change_nothing() -> None:
    for name, part in LOSSES.parts.items():
        if "classification" not in part.tasks or name == "custom":
            continue
        steps = steps_of(lived(world(48), 0), [0, 1])
        recipe = {"strategy": "finetune", "loss": name}
        both = [taught(learner(recipe=recipe), steps, is_left_out) for is_left_out in (False, True)]
        assert both[0].digest() == both[1].digest(), name

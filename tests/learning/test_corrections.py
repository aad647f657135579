"""Labels that turn out to be others: all that is kept of their facts follows, and is as if they had been right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from driftline.learning.learner import Learner
from driftline.records import Answer, Item, Label, Plan, Revised
from driftline.spec.parts.replay_policies import REPLAY_POLICIES
from tests.learning.conftest import (
    WIDTH,
    accuracy,
    answered,
    assert_same,
    item,
    learner,
    play,
    restored,
    turned,
    values,
    world,
)

TASKS: dict[str, tuple[dict[str, Any], list[Item]]] = {
    "two classes": ({}, answered(world(200), is_right=True)),
    "open classes": (
        {"classes": "open"},
        [msgspec.structs.replace(each, answer=Answer(1, "a", b"")) for each in world(200, names=["a", "b", "c"])],
    ),
    "regression": (
        {"task": "regression", "classes": None},
        [msgspec.structs.replace(each, answer=Answer(1, None, np.float32(1000).tobytes())) for each in values(200)],
    ),
}
OTHERS: dict[str, dict[Any, Label]] = {"two classes": {0: 1, 1: 0}, "open classes": {"a": "b", "b": "d", "c": "a"}}
HOLDS = {"gate": {"holdout": 0.3}, "on_alarm": "shorten"}


def corrected(
    items: Sequence[Item], rows: Sequence[int], task: str = "two classes", weight: float | None = None
) -> list[Item]:
    """Corrections of some items, which are the records 1, 2, …"""
    return [
        msgspec.structs.replace(
            items[row],
            id=f"c{row}",
            label=OTHERS[task][items[row].label] if task in OTHERS else items[row].label + 7.0,  # type: ignore[operator]
            weight=items[row].weight if weight is None else weight,
            revises=Revised(row + 1, items[row].label, items[row].weight),
        )
        for row in rows
    ]


def learn(one: Learner, items: Sequence[Item], first: int = 1, size: int = 16, **plan: Any) -> None:
    for start in range(0, len(items), size):
        part = items[start : start + size]
        one.learn(part, range(first + start, first + start + len(part)), Plan(updates=1, **plan))


def _ids(mixture: Any, columns: torch.Tensor) -> torch.Tensor:
    """The ids of classes, of the columns that these have: here outputs are in the order of the ids."""
    return mixture.columns.seen[columns]


def kept(one: Learner) -> dict[str, dict[int, float]]:
    """The labels of what is kept, by log number."""
    places = {
        "memory": one.replay_buffer.examples,
        "holdout": one.promotion.holdout.current(),
        "recent": one.monitor.recent.examples.current(),
    }
    found = {
        name: dict(zip(rows.numbers.tolist(), rows.targets.tolist(), strict=True)) for name, rows in places.items()
    }
    mixture = getattr(one.course.strategy, "mixture", None)
    if mixture is not None:
        targets = mixture.mixture.neighbours.targets[: mixture.filled].flatten()
        if hasattr(mixture.mixture, "columns"):
            targets = _ids(mixture.mixture, targets)
        numbers = mixture.numbers[: mixture.filled].tolist()
        found["window of the mixture"] = dict(zip(numbers, targets.tolist(), strict=True))
    return found


@pytest.mark.parametrize("memory", REPLAY_POLICIES.parts)
@pytest.mark.parametrize("task", TASKS)
def test_all_that_is_kept_follows(task: str, memory: str) -> None:
    changes, items = TASKS[task]
    one = learner(**changes, recipe=HOLDS | {"memory": {"name": memory, "size": 150}})
    learn(one, items)
    rows = range(20, 200, 7)
    before, corrections = kept(one), corrected(items, rows, task)
    learn(one, corrections, first=201)
    ids = one.class_table.ids
    wanted = {
        row + 1: ids[type(each.label), each.label] if ids else each.label
        for row, each in zip(rows, corrections, strict=True)
    }
    for place, labels in kept(one).items():
        assert labels.keys() >= before[place].keys() or place == "window of the mixture", place
        assert {n: labels[n] for n in wanted if n in labels} == pytest.approx(
            {n: wanted[n] for n in wanted if n in labels}
        ), place
        untouched = before[place].keys() - wanted.keys()
        assert {n: labels[n] for n in untouched} == {n: before[place][n] for n in untouched}, place
    assert all(labels.keys() & wanted.keys() for labels in before.values()), "it is of what is kept everywhere"
    again = restored(one)
    more = TASKS[task][1][:40]
    for each in (one, again):
        learn(each, more, first=301)
        learn(each, corrected(more, [3], task), first=400)
    assert_same(one.state_dict(), again.state_dict())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size, weight", [(1000, None), (1000, 2.0), (60, None)])
def test_scores_are_as_if_the_labels_had_been_right(task: str, size: int, weight: float | None) -> None:
    """Also of what has left the window, but for the fading scores: what has faded of it stays, and what by a former weight."""
    changes, items = TASKS[task]
    items = [msgspec.structs.replace(each, weight=1.0 + n % 3) for n, each in enumerate(items)]
    rows = range(0, 200, 9)
    corrections = dict(zip(rows, corrected(items, rows, task, weight), strict=True))
    right = [msgspec.structs.replace(corrections.get(n, each), revises=None) for n, each in enumerate(items)]
    shown = []
    for labels, later in ((items, list(corrections.values())), (right, [])):
        one = learner(**changes, recipe={"strategy": "finetune"})
        one.monitor.prequential.size = size
        one.monitor.prequential.window = type(one.monitor.prequential.window)(maxlen=size)
        learn(one, labels)
        learn(one, later, first=201)
        shown.append(one.monitor.prequential.shown())
    for found in shown if size < 200 or weight is not None else ():
        del found["fading"]
    assert _sorted(shown[0]) == _approximately(_sorted(shown[1]))


def _sorted(shown: dict[str, Any]) -> dict[str, Any]:
    window = shown["window"]
    if "classes" in window:
        window["classes"] = sorted(window["classes"], key=lambda each: str(each["class"]))
        del window["confusion"]
    return shown


def _approximately(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _approximately(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_approximately(each) for each in value]
    return pytest.approx(value, abs=1e-6) if isinstance(value, float) else value


@pytest.mark.parametrize("labellers", [1, 2])
def test_a_correction_that_comes_with_its_label_is_the_label(labellers: int) -> None:
    items = [
        msgspec.structs.replace(item, caller=f"k{n % labellers}")
        for n, item in enumerate(answered(world(64), is_right=True))
    ]
    late = corrected(items, [5, 9])
    right = [
        msgspec.structs.replace({5: late[0], 9: late[1]}.get(n, each), revises=None) for n, each in enumerate(items)
    ]
    one, other = learner(), learner()
    one.learn([*items, *late], range(1, 67), Plan(updates=1))
    other.learn(right, range(1, 65), Plan(updates=1))
    one.trust = other.trust  # It has seen 66 labels.
    assert_same(one.state_dict(), other.state_dict())


def test_a_correction_of_a_correction_is_one_of_the_first_label() -> None:
    items = answered(world(64), is_right=True)
    one, other = learner(), learner()
    for each in (one, other):
        learn(each, items)
    (first,) = corrected(items, [5])
    back = msgspec.structs.replace(items[5], id="b", revises=Revised(65, first.label, first=6))
    one.learn([first], [65], Plan())
    one.learn([back], [66], Plan())
    other.learn([first, back], [65, 66], Plan())
    for place, labels in kept(one).items():
        assert labels.get(6) == kept(other)[place].get(6) == (items[5].label if 6 in labels else None), place


def test_a_label_can_be_withdrawn_and_come_back() -> None:
    items = answered(world(64), is_right=True)
    one = learner()
    learn(one, items)
    accurate = one.monitor.prequential.shown()
    (gone,) = corrected(items, [40], weight=0.0)
    one.learn([msgspec.structs.replace(gone, label=items[40].label)], [65], Plan())
    assert one.monitor.prequential.count == 63
    rows = one.replay_buffer.examples
    assert rows.weights[rows.numbers == 41].tolist() in ([0.0], [])
    one.learn([msgspec.structs.replace(items[40], revises=Revised(65, items[40].label, 0.0, first=41))], [66], Plan())
    assert one.monitor.prequential.shown()["count"] == accurate["count"]


def test_history_that_waits_for_its_label_gets_the_one_that_is_known_then() -> None:
    items = [msgspec.structs.replace(each, route="import", delay=30) for each in world(20)]
    one = learner()
    one.learn(items, range(1, 21), Plan())
    (late,) = corrected(items, [3])
    one.learn([late], [21], Plan())
    one.learn(
        [msgspec.structs.replace(each, id=f"l{n}") for n, each in enumerate(world(60, 900))],
        range(22, 82),
        Plan(updates=1),
    )
    assert kept(one)["memory"].get(4, late.label) == late.label
    assert not len(one.late_labels)


@pytest.mark.parametrize("recipe", [{}, {"strategy": "replay"}, {"strategy": "finetune"}])
def test_a_wrong_batch_that_is_corrected_is_unlearned(recipe: dict[str, Any]) -> None:
    truth = world(400)
    wrong = [other if n % 2 else each for n, (each, other) in enumerate(zip(truth, turned(truth), strict=True))]
    one = learner(recipe=recipe | {"optimizer": {"learning_rate": 0.02}})
    play(one, wrong)
    before = accuracy(one, world(400, 5000))
    rights = [
        msgspec.structs.replace(truth[n], id=f"c{n}", revises=Revised(n + 1, wrong[n].label)) for n in range(1, 400, 2)
    ]
    for first in range(0, len(rights), 16):
        part = rights[first : first + 16]
        one.learn(part, range(401 + first, 401 + first + len(part)), Plan(updates=2, publish=True, version=2))
    assert accuracy(one, world(400, 5000)) > max(0.8, before)


def test_a_correction_of_what_is_not_kept_any_more_is_learned() -> None:
    one = learner(recipe={"memory": {"size": 10}})
    learn(one, world(100))
    learned = one.digest()
    old = item(np.zeros(WIDTH), 1, revises=Revised(3, 0))
    result = one.learn([old], [101], Plan(updates=1))
    assert result.rejected == {} and one.digest() != learned


def test_what_does_not_fit_is_rejected_and_changes_no_label() -> None:
    items = answered(world(64), is_right=True)
    one = learner()
    learn(one, items)
    before = kept(one)
    wrong = msgspec.structs.replace(items[5], label=17, revises=Revised(6, items[5].label))
    result = one.learn([wrong], [65], Plan())
    assert list(result.rejected) == [65]
    assert kept(one) == before

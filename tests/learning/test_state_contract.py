"""Of everything that a learner consists of, each attribute is state or named as derived; and the state is the whole learner."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import pytest

from driftline.learning.learner import Learner
from driftline.learning.stateful import Stateful, undeclared
from driftline.records import Item, Plan
from driftline.spec.parts.averaging import AVERAGINGS
from driftline.spec.parts.detectors import DETECTORS
from driftline.spec.parts.replay_policies import REPLAY_POLICIES
from driftline.spec.parts.schedules import SCHEDULES
from driftline.spec.parts.strategies import STRATEGIES
from tests.learning.conftest import (
    answered,
    assert_same,
    learner,
    play,
    restored,
    turned,
    values,
    weights_of,
    world,
)

HOOKS: dict[str, Any] = {
    "l2_sp": {"version": 1},
    "max_norm": {},
    "refresh": {"rate": 0.05, "maturity": 5, "every": 1},
    "shrink_and_perturb": {},
    "sanitize": "repair",
}
CANARY: dict[str, Any] = {"strategy": "replay", "gate": {"mode": "canary", "labels": 40, "holdout": 0.0}}
MANUAL: dict[str, Any] = {"strategy": "replay", "gate": {"mode": "manual"}}
FROZEN_AFTER = 1000
"""Labels after which the input drift monitor keeps a copy of the network."""


def by(recipe: Mapping[str, Any], items: Iterable[Item] | None = None, **changes: Any) -> Learner:
    """A learner that has learned by a recipe, and been through an alarm."""
    one = learner(recipe=recipe, **changes)
    play(one, list(items) if items is not None else stream(120))
    return one


def stream(count: int) -> list[Item]:
    """Labels of answers that were right, then wrong."""
    return [*answered(world(count), is_right=True), *answered(world(count, count), is_right=False)]


def with_every_hook() -> Learner:
    one = by({"strategy": "replay", "gate": {"holdout": 0}}, world(64))
    one.change_recipe(HOOKS, {1: weights_of(one)})
    play(one, stream(100))
    return one


def with_a_frozen_copy() -> Learner:
    one = learner(recipe={"on_alarm": "shorten"})
    play(one, answered(world(FROZEN_AFTER + 200), is_right=True), size=100)
    assert one.monitor.input_drift is not None and one.monitor.input_drift.frozen_copy is not None
    return one


def with_a_job() -> Learner:
    """A race in which one entry is edited, while the stream goes on."""
    one = by({"strategy": "replay"}, world(200), network={"preset": "mlp", "hidden": [8]})
    widened = {"edits": [{"type": "widen", "layer": "linear1", "features": 10}]}
    one.retrain("job", {"averaging": "ema", "l2_sp": {}}, [], 4, world(100, 300), race=[{"batch_size": 16}, widened])
    assert one.retraining is not None
    one.retraining.advance(3)
    play(one, world(40, 500))
    return one


def with_a_canary() -> Learner:
    one = by(CANARY, world(64))
    play(one, answered(world(20, 100), is_right=True, version=1))
    assert one.promotion.canary is not None and one.promotion.canary.others
    return one


def with_a_promotion_watch() -> Learner:
    one = by(MANUAL, world(200))
    one.promote(2)
    play(one, answered(world(20, 300), is_right=True, version=2))
    assert one.promotion.promotion_watch is not None and one.promotion.promotion_watch.served
    return one


def with_a_rejected_streak() -> Learner:
    one = by({"strategy": "finetune", "optimizer": {"learning_rate": 0.05}, "gate": {"holdout": 0.5}}, world(400))
    for first in range(1000, 2000, 50):
        if one.promotion.rejected_streak is not None:
            return one
        one.learn(turned(world(50, first)), range(first, first + 50), Plan(updates=8, publish=True))
    raise AssertionError("it was never rejected")


CASES: dict[str, Callable[[], Learner]] = {
    "open classes": partial(by, {}, world(200, names=["red", 3, "blue"]), classes="open"),
    "no class yet": partial(by, {}, [], classes="open"),
    "regression": partial(by, {"strategy": "experts"}, values(200), task="regression", classes=None),
    "intervals": partial(by, {}, values(200), task="regression", classes=None, intervals=[0.1, 0.9]),
    "several outputs": partial(
        by, {"strategy": "experts"}, [], task="regression", classes=None, outputs=["a", "b"], intervals=[0.1, 0.9]
    ),
    "several labels": partial(by, {}, [], task="multilabel", classes=["a", "b"]),
    "every hook": with_every_hook,
    "a frozen copy": with_a_frozen_copy,
    "a job": with_a_job,
    "a canary": with_a_canary,
    "a promotion watch": with_a_promotion_watch,
    "a rejected streak": with_a_rejected_streak,
    "rows too wide for experts": partial(by, {"strategy": "experts"}, [], inputs={"shape": [5000]}),
    **{f"strategy {name}": partial(by, {"strategy": name}) for name in STRATEGIES.parts},
}
PARTS: dict[str, Iterable[str]] = {
    "averaging": AVERAGINGS.parts,
    "detector": DETECTORS.parts,
    "memory": REPLAY_POLICIES.parts,
}
for field, names in PARTS.items():
    CASES |= {f"{field} {name}": partial(by, {"strategy": "replay", field: name}) for name in names}
for name in SCHEDULES.parts:
    CASES[f"schedule {name}"] = partial(by, {"strategy": "replay", "optimizer": {"schedule": name}})
EVERY_CASE = pytest.mark.parametrize("case", CASES)


@cache
def made(case: str) -> Learner:
    """The learner of a case, which no test changes."""
    return CASES[case]()


def stateful_parts(root: Stateful) -> list[Stateful]:
    """All objects with a state that can be reached from one: as attributes, also of objects without, and in containers."""
    seen: dict[int, Any] = {}
    waiting: list[Any] = [root]
    while waiting:
        found = waiting.pop()
        if id(found) not in seen:
            seen[id(found)] = found
            waiting += _inside(found)
    return [each for each in seen.values() if isinstance(each, Stateful)]


def _inside(found: Any) -> Iterator[Any]:
    if isinstance(found, Mapping):
        yield from found.values()
    elif isinstance(found, list | tuple | set | frozenset | deque):
        yield from found
    elif type(found).__module__.startswith("driftline.learning"):
        yield from getattr(found, "__dict__", {}).values()


def kinds(base: type[Stateful]) -> Iterator[type[Stateful]]:
    """The classes of Driftline's own that objects are made of."""
    for kind in base.__subclasses__():
        yield from kinds(kind)
        if not kind.__subclasses__() and kind.__module__.startswith("driftline."):
            yield kind


@EVERY_CASE
def test_every_attribute_is_state_or_named_as_derived(case: str) -> None:
    found = [(type(each).__name__, undeclared(each)) for each in stateful_parts(made(case))]
    assert len(found) > 10
    assert [(name, attributes) for name, attributes in found if attributes] == []


@EVERY_CASE
def test_a_learner_from_a_state_has_that_state(case: str) -> None:
    assert_same(restored(made(case)).state_dict(), made(case).state_dict())


def test_these_are_all_classes_that_have_a_state_and_no_name_is_declared_that_nothing_has() -> None:
    attributes: dict[type[Stateful], set[str]] = {}
    for each in (part for case in CASES for part in stateful_parts(made(case))):
        attributes.setdefault(type(each), set()).update(vars(each))
    assert set(kinds(Stateful)) <= attributes.keys()
    assert {kind.__name__: stale for kind, held in attributes.items() if (stale := _declared(kind) - held)} == {}


def _declared(kind: type[Stateful]) -> set[str]:
    """The names that a class declares, without those of its properties."""
    return {name for name in (*kind.state_names(), *kind.derived_names()) if not hasattr(kind, name)}

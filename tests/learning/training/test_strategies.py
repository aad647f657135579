"""What every strategy must bear, and what each is there for."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.training.strategies.agem import projected
from driftline.records import Answer, Item, Plan
from driftline.spec.parts.replay_policies import REPLAY_POLICIES
from driftline.spec.parts.strategies import STRATEGIES
from tests.learning.conftest import (
    accuracy,
    assert_same,
    examples_of,
    item,
    learner,
    play,
    restored,
    turned,
    values,
    weights_of,
    world,
)

COLOURS: list[int | str] = ["red", "green", 3, "blue"]
QUICK = {"learning_rate": 0.02}
EVERY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES.parts)
# Each strategy with the usual memory, and each memory with the usual strategy: neither knows which the other is.
EVERY_PAIR = pytest.mark.parametrize(
    ("strategy", "policy"),
    [
        *((strategy, REPLAY_POLICIES.default) for strategy in STRATEGIES.parts),
        *(("replay", policy) for policy in REPLAY_POLICIES.parts if policy != REPLAY_POLICIES.default),
    ],
)


def made(strategy: str | dict[str, Any], recipe: dict[str, Any] | None = None, **changes: Any) -> Learner:
    return learner(recipe={"strategy": strategy, "optimizer": QUICK, **(recipe or {})}, **changes)


def drift(count: int, first: int = 0) -> list[Item]:
    """Items of many classes that were answered rightly, then wrongly: an alarm, then more of them."""
    items = world(2 * count, first, COLOURS)
    answers = [each.label for each in items[:count]] + ["none"] * count
    return [
        msgspec.structs.replace(each, answer=Answer(1, answer, bytes(8)))  # type: ignore[arg-type]
        for each, answer in zip(items, answers, strict=True)
    ]


@EVERY_PAIR
def test_it_learns_what_there_is_to_learn(strategy: str, policy: str) -> None:
    one = made(strategy, {"memory": {"name": policy, "size": 200}})
    play(one, world(600), size=32, updates=4)
    assert accuracy(one, world(300, first=9000)) > 0.9


@EVERY_PAIR
def test_it_goes_on_from_its_state_bit_for_bit(strategy: str, policy: str) -> None:
    one = made(strategy, {"memory": {"name": policy, "size": 64}}, classes="open")
    items = [*world(100, names=COLOURS[:2]), *world(100, 100, COLOURS), *drift(120, 200)]
    play(one, items[:190])
    other = restored(one)
    for each in (one, other):
        play(each, items[190:])
    assert_same(one.state_dict(), other.state_dict())
    assert one.monitor.alarms, "the strategy was told of a drift"


@EVERY_STRATEGY
def test_it_learns_a_regression(strategy: str) -> None:
    if "regression" not in STRATEGIES.get(strategy).tasks:
        with pytest.raises(InvalidInput, match=f"the strategy {strategy} is not for regression"):
            made(strategy, task="regression", classes=None)
        return
    one = made(strategy, task="regression", classes=None)
    play(one, values(600), size=32, updates=4)
    rows = examples_of(one, values(100, first=9000))
    with torch.no_grad():
        error = (one.promotion.champion.eval().predict(rows.inputs)[:, 0] - rows.targets).abs().mean()
    assert float(error) < 15, "of a deviation of 50"


@EVERY_STRATEGY
@pytest.mark.parametrize("size", [1, 7, 32])
def test_a_step_of_any_size_will_do(strategy: str, size: int) -> None:
    one = made(strategy)
    play(one, world(70), size=size)
    assert one.learned == 70 and all(bool(torch.isfinite(value).all()) for value in weights_of(one).values())


STREAMS: dict[str, list[Item]] = {
    "one class": [item(row, 0) for row in np.random.default_rng(0).normal(size=(80, 4))],
    "constant features": [item([3.0, 3.0, 3.0, 3.0], n % 2) for n in range(80)],
    "a feature at a million": [item([row[0], 1e6, row[2], row[3]], int(row[0] > 0)) for row in np.eye(4).repeat(20, 0)],
    "one of a hundred": [item(row, int(n % 100 == 99)) for n, row in enumerate(np.random.default_rng(1).normal(size=(300, 4)))],
    "weights of nothing": [item(row, 1, weight=0.0) for row in np.random.default_rng(2).normal(size=(80, 4))],
}  # fmt: skip


@EVERY_STRATEGY
@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_of_any_kind_leaves_weights_that_can_be_served(strategy: str, stream: str) -> None:
    one = made(strategy)
    for outcome in play(one, STREAMS[stream]):
        assert not outcome.rejected and not outcome.quarantined
    assert all(bool(torch.isfinite(value).all()) for value in weights_of(one).values())


@EVERY_STRATEGY
def test_a_thousand_classes_are_learned(strategy: str) -> None:
    one = made(strategy, classes="open")
    rows = np.random.default_rng(0).normal(size=(1200, 4))
    play(one, [item(row, n % 1000) for n, row in enumerate(rows)], size=100, updates=1)
    assert len(one.classes) == 1000 and one.module.output.out_features == 1000


@EVERY_STRATEGY
def test_another_strategy_takes_over_on_a_live_model(strategy: str) -> None:
    one = made("replay")
    play(one, world(200), size=32)
    one.change_recipe({"strategy": strategy})
    play(one, world(400, first=200), size=32)
    other = restored(one)
    assert_same(one.state_dict(), other.state_dict())
    assert accuracy(one, world(300, first=9000)) > 0.9


def old_and_new(strategy: Any) -> tuple[float, float]:
    """Accuracy on classes that came first, and on those that came later alone."""
    one = made(strategy, classes=[0, 1, 2, 3], network={"preset": "mlp", "hidden": [32]})
    first, later = [i for i in world(1600, names=[0, 1, 2, 3]) if i.label in (0, 1)], world(1600, 5000, [0, 1, 2, 3])
    play(one, first, size=32, updates=4)
    play(one, [i for i in later if i.label in (2, 3)], size=32, updates=4)
    test = world(400, first=20_000, names=[0, 1, 2, 3])
    former, later = ([i for i in test if i.label in known] for known in ((0, 1), (2, 3)))
    return accuracy(one, former), accuracy(one, later)


def test_what_is_replayed_is_not_forgotten() -> None:
    forgotten, _ = old_and_new("finetune")
    for strategy in ("replay", "der", "gdumb"):
        kept, learned = old_and_new(strategy)
        assert kept > forgotten + 0.2 and learned > 0.8, strategy


def test_weights_that_mattered_are_held_on_to() -> None:
    moved = {}
    for strength in (0.0, 1e5):
        one = made({"name": "ewc", "strength": strength, "every": 100})
        play(one, world(320), size=32, updates=4)
        before = one.module.output.get_parameter("weight").clone()
        play(one, turned(world(320, 500)), size=32, updates=4)
        moved[strength] = float((one.module.output.get_parameter("weight").detach() - before.detach()).norm())
    assert moved[1e5] < 0.3 * moved[0.0]


def test_an_older_champion_teaches() -> None:
    apart = {}
    for strength in (0.0, 50.0):
        one = made({"name": "lwf", "strength": strength})
        play(one, world(1100), size=100, updates=8)
        play(one, turned(world(320, 5000)), size=32, updates=4)
        rows = examples_of(one, world(100, 9000))
        with torch.no_grad():
            ours, theirs = (module.eval().predict(rows.inputs) for module in (one.module, one.promotion.anchor))
        apart[strength] = float((ours - theirs).abs().mean())
    assert apart[50.0] < 0.5 * apart[0.0]


def test_a_gradient_loses_only_what_would_harm_what_is_replayed() -> None:
    harmful, reference = {"w": torch.tensor([1.0, -1.0])}, {"w": torch.tensor([0.0, 2.0])}
    assert projected(harmful, reference)["w"].tolist() == [1.0, 0.0]
    harmless = {"w": torch.tensor([1.0, 1.0])}
    assert projected(harmless, reference) is harmless


def test_logits_of_then_are_kept_with_the_examples() -> None:
    one = made("der", classes="open")
    play(one, world(64, names=COLOURS[:2]))
    play(one, world(64, 100, names=COLOURS))
    notes = one.replay_buffer.examples.notes["logits"]
    assert notes.shape == (len(one.replay_buffer), 4)
    assert bool(notes[:40, 2:].isnan().all()) and bool(notes[:, :2].isfinite().all())


def test_after_an_alarm_gdumb_begins_anew_from_the_replay_buffer() -> None:
    one = made("gdumb")
    play(one, world(200), size=32)
    before = one.module.output.get_parameter("weight").clone()
    one.course.strategy.on_drift(one.course.step, one.replay_buffer, 0)
    assert not torch.equal(one.module.output.get_parameter("weight"), before)
    one.learn([], [], Plan(publish=True))
    assert accuracy(one, world(300, first=9000)) > 0.85

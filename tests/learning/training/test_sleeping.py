"""What a mixture had learned before drift sleeps, and is gone on with where it is true again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from driftline.backtest.replay import predict
from driftline.learning.learner import Learner
from driftline.learning.stateful import State
from driftline.learning.training.experts.sleeping import SleepingMixtures
from driftline.networks.experts.mixture import Mixture
from driftline.records import Answer, Item, Plan
from driftline.rows.rows import Rows
from tests.learning.conftest import assert_same, item, learner, restored, weights_of

FEATURES, PART = 6, 300
EXPERTS: dict[str, Any] = {"inputs": {"shape": [FEATURES]}, "recipe": {"strategy": "experts"}}
WIDE: dict[str, Any] = EXPERTS | {"classes": [0, 1, 2]}
REGRESSION: dict[str, Any] = EXPERTS | {"task": "regression", "classes": None}
FORGETFUL = {"strategy": {"name": "experts", "sleeping": 0}}


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)


def scores(inputs: NDArray[np.float32], concept: int) -> NDArray[np.float64]:
    """What a random network of three outputs says of rows, one for each concept."""
    random = np.random.default_rng(100 + concept)
    found: NDArray[np.float64] = np.tanh(inputs @ random.normal(size=(FEATURES, 8))) @ random.normal(size=(8, 3))
    return found


def stream(concepts: Sequence[int], is_regression: bool = False) -> list[Item]:
    """Labels of one concept after the other, ``PART`` of each."""
    inputs = rows(PART * len(concepts))
    found = []
    for concept, part in zip(concepts, np.split(inputs, len(concepts)), strict=True):
        said = scores(part, concept)
        labels = said[:, 0].tolist() if is_regression else said.argmax(1).tolist()
        found += list(zip(part, labels, strict=True))
    return [item(row, label, f"i{n}") for n, (row, label) in enumerate(found)]


class Played:
    """A learner whose answers are recorded, as they are served; each label comes in the step after its answer."""

    def __init__(self, one: Learner) -> None:
        self.learner, self.version, self.count = one, 1, 0
        self.losses: list[float] = []
        self.returned: list[Any] = []

    def play(self, items: Sequence[Item], size: int = 20) -> Played:
        for start in range(0, len(items), size):
            some = self.answered(items[start : start + size])
            numbers = range(self.count + 1, self.count + 1 + len(some))
            self.count += len(some)
            result = self.learner.learn(some, numbers, Plan(4, publish=True, version=self.version + 1))
            self.version += result.decision is not None and result.decision.promoted
            self.returned += result.returned
        return self

    def answered(self, items: Sequence[Item]) -> list[Item]:
        """The items with the answers that are served to them."""
        outputs, traces = predict(self.learner, Rows(inputs_of(items)))
        found = []
        for each, row, trace in zip(items, outputs, traces, strict=True):
            label = None if self.learner.module.is_regression else self.learner.classes[int(row.argmax())]
            told: Any = row[0] if label is None else label
            error = abs(float(told) - float(each.label))  # type: ignore[arg-type]
            self.losses.append(error if label is None else float(error > 0))
            answer = Answer(self.version, label, row.tobytes(), trace)
            found.append(Item(each.id, each.inputs, each.label, answer=answer))
        return found


def inputs_of(items: Sequence[Item]) -> dict[str, Any]:
    return {"inputs": np.stack([np.frombuffer(each.inputs["inputs"], np.float32) for each in items])}


def sleeping(one: Learner) -> SleepingMixtures:
    found: SleepingMixtures = one.course.strategy.sleeping  # type: ignore[attr-defined]
    return found


@pytest.fixture(scope="module")
def after_drift() -> State:
    """The state of a learner for which one concept sleeps, and another holds."""
    one = Played(learner(**WIDE)).play(stream([0, 1])).learner
    assert sleeping(one).asleep and not sleeping(one).returned
    return one.state_dict()


def going_on(state: State) -> Played:
    one = Played(Learner.from_state(state))
    one.count, one.version = 2 * PART, 100
    return one


def test_a_concept_that_returns_is_gone_on_with_and_told(after_drift: State) -> None:
    third = stream([0, 1, 0])[2 * PART :]
    with_past, without = going_on(after_drift), going_on(after_drift)
    without.learner.change_recipe({"strategy": {"name": "experts", "sleeping": 0}})
    with_past.play(third), without.play(third)
    assert [told.tried > 0 and told.gain > 0 and told.labels > PART for told in with_past.returned] == [True]
    assert with_past.learner.metrics()["returned"] == 1 and "a concept has returned" in with_past.returned[0].message
    assert not without.returned and "returned" not in without.learner.metrics()
    assert sum(with_past.losses) < sum(without.losses) - 0.03 * PART


def test_what_was_learned_of_a_regression_returns_too() -> None:
    one = Played(learner(**REGRESSION)).play(stream([0, 1, 0], is_regression=True))
    assert one.learner.metrics()["returned"] >= 1
    assert one.learner.module.is_finite()


def test_the_concept_that_has_gone_meanwhile_sleeps_in_its_place(after_drift: State) -> None:
    one = going_on(after_drift).play(stream([0, 1, 0])[2 * PART :])
    assert len(sleeping(one.learner).asleep) == 1
    one.play(stream([0, 1, 0, 1])[3 * PART :])
    assert one.learner.metrics()["returned"] == 2


@pytest.mark.parametrize("until", [20, 60])
def test_after_a_crash_it_goes_on_bit_for_bit(after_drift: State, until: int) -> None:
    third = stream([0, 1, 0])[2 * PART :]
    one = going_on(after_drift).play(third[:until])
    two = Played(restored(one.learner))
    two.count, two.version = one.count, one.version
    for each in (one, two):
        each.play(third[until : until + 40])
    assert_same(one.learner.state_dict(), two.learner.state_dict())


def test_what_was_served_before_an_alarm_is_no_rival_in_a_trial(after_drift: State) -> None:
    asleep = sleeping(going_on(after_drift).learner)
    asleep.on_drift(40)
    assert asleep.on_trial == asleep.max_trial and asleep.tried == 40
    assert all(former.sums == [0.0, 0.0, 0.0] for former in asleep.asleep)


def test_without_an_alarm_nothing_sleeps_and_a_recipe_may_have_none_copied() -> None:
    one = Played(learner(**WIDE)).play(stream([0]))
    assert sleeping(one.learner).recent and not sleeping(one.learner).asleep
    assert "asleep" not in one.learner.metrics()
    none = Played(learner(**WIDE | {"recipe": FORGETFUL})).play(stream([0])[:100])
    assert not sleeping(none.learner).recent and not sleeping(none.learner).newest


def test_a_state_from_before_anything_slept_is_read(after_drift: State) -> None:
    tensors = {name: value for name, value in after_drift.tensors.items() if ".sleeping." not in name}
    strategy = {name: value for name, value in after_drift.data["course"]["strategy"].items() if name != "sleeping"}
    data = after_drift.data | {"course": after_drift.data["course"] | {"strategy": strategy}}
    one = Learner.from_state(State(tensors, {name: value for name, value in data.items() if name != "mixed_since"}))
    assert not sleeping(one).asleep and one.mixed_since == 0
    assert one.learned == 2 * PART


def test_what_sleeps_knows_of_classes_that_have_come_and_is_gone_with_those_that_have(after_drift: State) -> None:
    one = going_on(after_drift)
    count = len(sleeping(one.learner).asleep)
    one.learner.course.add_classes([3])
    assert len(sleeping(one.learner).asleep) == count
    one.play(stream([0, 1, 0])[2 * PART :])
    assert one.learner.metrics()["returned"] == 1 and one.learner.module.width == 4
    assert predict(one.learner, Rows({"inputs": rows(1)}))[0].shape == (1, 4)


def test_a_rollback_forgets_nothing_that_sleeps(after_drift: State) -> None:
    one = Learner.from_state(after_drift)
    asleep = sleeping(one).asleep
    one.rollback(one.spec, one.classes, weights_of(one), 200)
    assert [former.at for former in sleeping(one).asleep] == [former.at for former in asleep]
    assert one.module.experts is not sleeping(one).asleep[0].mixture


def test_copies_are_bounded_in_number_and_bytes() -> None:
    mixture = Mixture(FEATURES, 3, 0, with_network=True)
    for size, room in ((6, 3), (6, 100), (2, 100), (6, 1), (0, 100)):
        found = SleepingMixtures(size, mixture, period=1, max_bytes=room * mixture.bytes + 1)
        for _ in range(12):
            found.on_learned(1)
            found.asleep += found.recent[-1:]
        found.on_learned(1)
        kept = len(found.recent) + len(found.asleep)
        assert kept <= room and len(found.asleep) <= max(size, 1)
        assert (not found.recent) == (room == 1 or not size)


def test_labels_of_what_another_mixture_has_answered_do_not_move_the_weights_of_the_woken_one(
    after_drift: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = going_on(after_drift)
    third = stream([0, 1, 0])[2 * PART :]
    late = one.answered(third[:20])
    one.play(third[20:140])
    assert one.returned
    traces: list[torch.Tensor] = []
    strategy = one.learner.course.strategy
    given = type(strategy).update_mixture_weights

    def noted(self: Any, state: Any, member_outputs: torch.Tensor, examples: Any) -> None:
        traces.append(member_outputs)
        given(self, state, member_outputs, examples)

    monkeypatch.setattr(type(strategy), "update_mixture_weights", noted)
    rows_of_late = {name: torch.from_numpy(value) for name, value in inputs_of(late).items()}
    now = one.learner.module.eval().traced(rows_of_late)[1]
    one.learner.learn(late, range(one.count + 1, one.count + 21), Plan(0))
    assert now is not None and torch.equal(traces[0], now)

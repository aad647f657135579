"""Intervals of a learner: fed by what was served, and as much part of a version and a checkpoint as its weights."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.stateful import State
from driftline.networks import bundle
from driftline.records import Plan
from tests.learning.conftest import learner, served, spec, values

LEVELS = [0.1, 0.9]


def begun(strategy: str = "replay") -> Learner:
    return learner(task="regression", classes=None, intervals=LEVELS, recipe={"strategy": strategy})


def teach(one: Learner, count: int, first: int = 0, version: int = 1) -> None:
    for start in range(first, first + count, 10):
        items = served(one, values(10, start), version)
        one.learn(items, range(start + 1, start + 11), Plan(2, publish=True, version=version + 1))


def test_answers_have_ends_once_enough_labels_are_known() -> None:
    one = begun()
    assert np.isnan(np.frombuffer(served(one, values(1))[0].answer.outputs, "<f4")[1:]).all()  # type: ignore[union-attr]
    teach(one, 40)
    value, low, high = np.frombuffer(served(one, values(1))[0].answer.outputs, "<f4")  # type: ignore[union-attr]
    assert low <= high and np.isfinite([value, low, high]).all()


def test_metrics_say_how_many_labels_the_intervals_covered() -> None:
    one = begun()
    teach(one, 400)
    scores = one.metrics()["prequential"]
    assert {"mae", "rmse", "coverage", "width", "pinball_loss"} <= scores.keys()
    assert 0.7 < scores["coverage"] < 0.95 and scores["width"] > 0
    assert scores["window"]["coverage"] == pytest.approx(scores["coverage"]), "the window holds all of them"


def test_labels_without_an_answer_teach_intervals_nothing() -> None:
    one = begun()
    teach(one, 30)
    one.learn(values(10, 30), range(31, 41), Plan(2, publish=True, version=3))
    one.learn([], [], Plan(2, publish=True, version=3))
    assert int(one.module.intervals.seen) == 30  # type: ignore[union-attr]


@pytest.mark.parametrize("strategy", ["experts", "replay"])
def test_it_goes_on_from_its_state_as_from_itself(strategy: str) -> None:
    one = begun(strategy)
    teach(one, 100)
    state = one.state_dict()
    tensors = bundle.weights_from_bytes(bundle.weights_to_bytes(state.tensors))
    other = Learner.from_state(State(tensors, msgspec.json.decode(msgspec.json.encode(state.data))))
    for each in (one, other):
        teach(each, 60, first=100, version=2)
    assert one.digest() == other.digest()
    assert one.metrics() == other.metrics()


def test_what_is_served_by_a_champion_has_the_ends_of_the_newest_labels() -> None:
    one = begun()
    teach(one, 100)
    assert torch.equal(one.promotion.champion.intervals.offsets, one.module.intervals.offsets)  # type: ignore[union-attr]


def test_a_rollback_keeps_what_is_known_of_errors() -> None:
    one = begun()
    weights = {name: value.clone() for name, value in one.module.state_dict().items()}
    teach(one, 100)
    before = one.module.intervals.offsets.clone()  # type: ignore[union-attr]
    one.rollback(one.spec, [], weights, 5)
    assert torch.equal(one.module.intervals.offsets, before)  # type: ignore[union-attr]


def test_a_retrain_goes_on_with_the_intervals_of_the_stream() -> None:
    one = begun()
    teach(one, 60)
    one.retrain("j", {}, [], 1, [])
    teach(one, 60, first=60)
    before = one.module.intervals.offsets.clone()  # type: ignore[union-attr]
    assert one.finish(9, is_promoted=True).decision.promoted  # type: ignore[union-attr]
    assert torch.equal(one.module.intervals.offsets, before)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"intervals": [0.9, 0.1]}, r'"intervals" are levels that rise, not \[0.9, 0.1\]'),
        ({"intervals": [0.5]}, "intervals"),
        ({"intervals": [0.0, 0.5]}, r"intervals\.0|intervals\[0\]"),
        ({"task": "classification", "classes": [0, 1], "intervals": [0.1, 0.9]}, '"intervals" belongs to regression'),
    ],
)
def test_levels_that_are_none_are_refused_by_name(changes: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        spec(**{"task": "regression", "classes": None} | changes)

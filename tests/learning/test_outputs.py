"""A regression with several outputs: each in its own unit, none of which decides."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from driftline.backtest.replay import backtest
from driftline.backtest.stream import Stream, of_log
from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.promotion import gate
from driftline.learning.stateful import State
from driftline.networks import bundle
from driftline.records import Item
from driftline.rows.rows import Rows
from tests.learning.conftest import item, learner, row_of, spec, teach_served

QUICK = {"name": "adamw", "learning_rate": 0.03}
OUTPUTS: dict[str, Any] = {"task": "regression", "classes": None, "outputs": ["price", "volume"]}


def labelled(count: int, first: int = 0) -> list[Item]:
    """The second output is a million times as large as the first."""
    rows = np.random.default_rng(first + 1).normal(size=(count, 4)).astype(np.float32)
    return [item(row, [float(row[0]), float(1e6 * (5 + row[1]))], f"i{first + n}") for n, row in enumerate(rows)]


def teach(one: Learner, count: int, first: int = 0) -> None:
    teach_served(one, labelled, count, first)


def errors(one: Learner) -> np.ndarray[Any, Any]:
    items = labelled(200, 9000)
    rows = torch.from_numpy(np.stack([row_of(each) for each in items]))
    with torch.no_grad():
        found = one.module.eval().predict({"inputs": rows}).numpy()
    return np.abs(found - np.array([each.label for each in items])).mean(0)


@pytest.mark.parametrize("strategy", ["experts", "replay", "finetune", "der", "agem", "ewc", "lwf", "gdumb"])
def test_every_strategy_learns_outputs_of_all_units(strategy: str) -> None:
    one = learner(**OUTPUTS, recipe={"strategy": strategy, "optimizer": QUICK})
    teach(one, 400)
    price, volume = errors(one)
    assert price < 0.6 and volume < 0.6e6, "the mean alone would be wrong by .8"


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile"])
def test_every_loss_is_the_mean_over_the_outputs(loss: str) -> None:
    one = learner(**OUTPUTS, recipe={"loss": loss, "optimizer": QUICK})
    teach(one, 300)
    price, volume = errors(one)
    assert price < 0.7 and volume < 0.7e6


def test_metrics_tell_of_each_output_and_of_all_without_a_unit() -> None:
    one = learner(**OUTPUTS, intervals=[0.1, 0.9])
    teach(one, 300)
    scores = one.metrics()["prequential"]
    assert set(scores["outputs"]) == {"price", "volume"}
    assert {"mae", "rmse", "bias", "r2", "coverage", "width", "pinball_loss"} <= scores["outputs"]["price"].keys()
    assert scores["outputs"]["volume"]["mae"] > 1e5 * scores["outputs"]["price"]["mae"]
    assert 0 < scores["window"]["normalized_mae"] < 2 and 0.6 < scores["coverage"] < 0.95


def test_the_gate_weighs_outputs_alike_whatever_their_unit() -> None:
    one = learner(**OUTPUTS, recipe={"strategy": "replay", "gate": {"holdout": 0.3}})
    teach(one, 200)
    rows = one.promotion.holdout.current()
    worse = one.module
    before = gate.errors(worse, rows, in_order=False).mean()
    assert 0.05 < before < 2
    unit = worse.error_unit
    assert unit is not None and 0.4 < unit[0] < 2.5 and 0.4e6 < unit[1] < 2.5e6
    for module in (one.promotion.champion, one.promotion.anchor):
        assert torch.equal(module.error_unit, unit), "all are compared in one unit"  # type: ignore[arg-type]


def test_it_goes_on_from_its_state_as_from_itself() -> None:
    one = learner(**OUTPUTS, intervals=[0.1, 0.9])
    teach(one, 100)
    state = one.state_dict()
    tensors = bundle.weights_from_bytes(bundle.weights_to_bytes(state.tensors))
    other = Learner.from_state(State(tensors, msgspec.json.decode(msgspec.json.encode(state.data))))
    for each in (one, other):
        teach(each, 60, first=100)
    assert one.digest() == other.digest() and one.metrics() == other.metrics()


def test_a_retrain_and_a_rollback_carry_all_outputs() -> None:
    one = learner(**OUTPUTS)
    teach(one, 100)
    weights = {name: value.clone() for name, value in one.module.state_dict().items()}
    one.retrain("j", {}, [], 2, [])
    teach(one, 60, first=100)
    assert one.finish(20, is_promoted=True).decision.promoted  # type: ignore[union-attr]
    one.rollback(one.spec, [], weights, 21)
    teach(one, 40, first=200)
    assert errors(one)[1] < 1e6


LABELS = [
    ({"price": 1.0}, r"label\.volume is missing; a label has a number for each output", "label.volume"),
    ({"price": 1, "volume": 2, "age": 3}, r"label\.age: there is no such output; there are price, volume", "label.age"),
    ([1.0], r"a label is a list of 2 numbers, or an object with price, volume, not \[1\.0\]", "label"),
    (3.0, r"a label is a list of 2 numbers, or an object with price, volume, not 3\.0", "label"),
    ({"price": "x", "volume": 1}, r"label\.price is a finite number, not 'x'", "label.price"),
    ([None, 1.0], r"label\.price is a finite number, not None", "label.price"),
    ([1.0, 1e39], r"label\.volume 1e\+39 does not fit float32", "label.volume"),
]


@pytest.mark.parametrize(("label", "told", "field"), LABELS)
def test_a_label_that_does_not_fit_is_refused_by_output(label: Any, told: str, field: str) -> None:
    with pytest.raises(InvalidInput, match=told) as error:
        spec(**OUTPUTS).check_label(label)
    assert error.value.details["field"] == field


def test_a_label_by_name_is_one_in_order() -> None:
    one = spec(**OUTPUTS)
    assert one.check_label({"volume": 2, "price": 1}) == one.check_label([1, 2]) == [1.0, 2.0]
    assert one.shown_label([1.0, 2.0]) == {"price": 1.0, "volume": 2.0}
    assert spec(**OUTPUTS | {"outputs": 2}).shown_label([1.0, 2.0]) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"outputs": ["a", "a"]}, '"outputs" names an output twice'),
        ({"outputs": 0}, "outputs"),
        ({"outputs": []}, "outputs"),
        ({"task": "classification", "classes": [0, 1]}, '"outputs" belongs to regression'),
    ],
)
def test_outputs_that_are_none_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        spec(**OUTPUTS | changes)


def test_a_backtest_tells_of_each_output() -> None:
    items = labelled(200)
    rows = Rows({"inputs": np.stack([row_of(each) for each in items])})
    stream = Stream(spec(**OUTPUTS, intervals=[0.1, 0.9]), rows, [each.label for each in items])
    report = backtest(stream, {"default": {}}, delay=5)
    assert set(report["normalized_mae"]) == {"default", "last_value", "mean"}
    assert report["mae"]["default"].keys() == {"price", "volume"} == report["coverage"]["default"].keys()
    assert report["normalized_mae"]["default"] < report["normalized_mae"]["last_value"]
    assert len(report["windows"]["normalized_mae"]["mean"]) == len(report["windows"]["at"])


def test_a_log_is_played_with_what_was_served() -> None:
    answer = {"version": 1, "values": {"price": 1.0, "volume": 2.0}}
    given = [{"inputs": [0, 0, 0, 0], "label": {"price": 1.5, "volume": 2}, "weight": 1.0, "answer": answer}]
    stream = of_log(spec(**OUTPUTS).model_dump(mode="json"), given)
    assert stream.labels == [[1.5, 2.0]] and stream.served == {0: [1.0, 2.0]}

"""A stream that is played: what is known when, what is scored, and that it is always the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from driftline.backtest import replay as harness
from driftline.backtest.arrivals import after_rows, at_times
from driftline.backtest.replay import backtest
from driftline.backtest.stream import Stream
from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import Decision
from driftline.learning.step_result import StepResult
from driftline.learning.training.updates_per_step import rows_of_step
from driftline.records import Item, Label, Plan
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec, parse

DELAYS = [0, 1, 5, 40, 120]
QUICK = {"strategy": "replay"}
"""What is learned here is learned by one network: the default takes ten times as long."""


def stream(
    labels: Sequence[Label | None], rows: NDArray[np.float32] | None = None, classes: Any = "open", **changes: Any
) -> Stream:
    """Labels with a row of its own for each."""
    rows = np.arange(len(labels), dtype=np.float32).reshape(-1, 1) if rows is None else rows
    is_regression = any(isinstance(label, float) for label in labels)
    kind = {"task": "regression"} if is_regression else {"task": "classification", "classes": classes}
    network = {"preset": "mlp", "hidden": [8]}
    given = {"name": "m", "inputs": {"shape": [rows.shape[1]]}, "network": network, "recipe": QUICK, **kind}
    spec = parse(ModelSpec, given)
    return Stream(spec, Rows({"inputs": rows}), list(labels), **changes)


def world(count: int = 300) -> Stream:
    """Two classes, told by the first of three numbers."""
    rows = np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32)
    return stream([int(row[0] > 0) for row in rows], rows)


class Spy:
    """Sees what goes in and out of the learner, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.predicted = 0
        self.steps: list[tuple[int, Sequence[Item], Sequence[int], Plan]] = []
        self.classes: list[list[int | str]] = []
        predict, learn = harness.predict, Learner.learn

        def seen_predict(learner: Learner, rows: Rows) -> tuple[NDArray[np.float32], list[bytes]]:
            self.predicted += len(rows)
            self.classes.append(learner.classes_of(learner.served))
            return predict(learner, rows)

        def seen_learn(learner: Learner, items: Sequence[Item], numbers: Sequence[int], plan: Plan) -> StepResult:
            self.steps.append((self.predicted, items, numbers, plan))
            return learn(learner, items, numbers, plan)

        monkeypatch.setattr(harness, "predict", seen_predict)
        monkeypatch.setattr(Learner, "learn", seen_learn)


@pytest.mark.parametrize("delay", DELAYS)
def test_no_label_is_seen_before_its_delay(monkeypatch: pytest.MonkeyPatch, delay: int) -> None:
    spy, played = Spy(monkeypatch), world(120)
    backtest(played, {"r": {"batch_size": 16}}, delay=delay)
    learned = 0
    for version, (predicted, items, numbers, plan) in enumerate(spy.steps, 2):
        step = rows_of_step(learned, delay, 16)
        assert len(items) == step and list(numbers) == list(range(learned + 1, learned + 1 + step))
        learned += step
        # The newest label comes with the row that is ``delay`` behind its own, and no row after that was predicted.
        assert predicted == learned + delay
        assert plan == Plan(updates=max(1, round(4 * step / 16)), publish=True, version=version)
    assert spy.predicted == len(played)
    assert len(played) - delay - rows_of_step(learned, delay, 16) < learned <= max(0, len(played) - delay)


@pytest.mark.parametrize(("delay", "accuracy"), [(0, 0.5), (1, 0.0), (7, 0.0)])
def test_a_label_that_is_told_by_the_row_before_helps_only_where_it_has_come(
    monkeypatch: pytest.MonkeyPatch, delay: int, accuracy: float
) -> None:
    """Rows come in equal pairs, to a learner that knows by heart every label that it has seen and nothing else."""
    known: dict[bytes, int] = {}

    def predict(learner: Learner, rows: Rows) -> tuple[NDArray[np.float32], list[bytes]]:
        found = np.eye(3, dtype=np.float32)[[known.get(row.tobytes(), 2) for row in rows.tensors["inputs"]]]
        return found, [b""] * len(found)

    def learn(learner: Learner, items: Sequence[Item], numbers: Sequence[int], plan: Plan) -> StepResult:
        known.update({item.inputs["inputs"]: item.label for item in items})  # type: ignore[misc]
        return StepResult(decision=Decision(False, ""))

    monkeypatch.setattr(harness, "predict", predict)
    monkeypatch.setattr(Learner, "learn", learn)
    monkeypatch.setattr(Learner, "classes_of", lambda self, module: [0, 1, 2])
    pairs = np.repeat(np.arange(20, dtype=np.float32), 2).reshape(-1, 1)
    labels = np.repeat(np.random.default_rng(0).integers(2, size=20), 2).tolist()
    played = stream(labels, pairs, classes=[0, 1, 2])
    assert backtest(played, {"r": {"batch_size": 4}}, delay=delay)["accuracy"]["r"] == accuracy


def test_what_is_learned_says_what_was_served_and_by_which_version(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    report = backtest(world(100), {"r": {}}, delay=10)
    items = [item for _, items, _, _ in spy.steps for item in items]
    answers = [item.answer for item in items if item.answer is not None]
    assert 90 - rows_of_step(90, 10, 32) < len(answers) == len(items) <= 90
    assert [answer.version for answer in answers[:12]] == [*[1] * 11, 2]
    versions = [answer.version for answer in answers]
    # What was learned last was answered by whoever had learned the labels up to ten rows before.
    assert versions == sorted(versions) and versions[-1] < report["versions"]["r"]
    right = sum(item.label == answer.label for item, answer in zip(items, answers, strict=True))
    assert right / len(items) == pytest.approx(report["accuracy"]["r"], abs=0.1)
    assert len(answers[-1].outputs) == 2 * 4


def test_classes_are_known_once_their_label_has_come_and_in_that_order(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    labels = ["b"] * 20 + ["a"] * 20 + ["c"] * 20
    report = backtest(stream(labels), {"r": {"gate": {"mode": "off"}}}, delay=5)
    assert spy.classes[0] == [] and spy.classes[-1] == ["b", "a", "c"]
    widths = [len(classes) for classes in spy.classes]
    assert widths == sorted(widths) and set(widths) == {0, 1, 2, 3}
    assert report["stream"]["classes"] == ["b", "a", "c"]


def test_base_lines_wait_for_their_labels_as_well() -> None:
    labels = ["x", "x", "y", "y", "y", "x"]
    at_once, later = (backtest(stream(labels), {"r": {}}, delay=delay)["accuracy"] for delay in (0, 1))
    assert at_once["no_change"] == pytest.approx(3 / 6)  # - x x y y y
    assert at_once["majority"] == pytest.approx(1 / 6)  # - x x x x y
    assert later["no_change"] == pytest.approx(1 / 6)  # - - x x y y
    assert later["majority"] == pytest.approx(1 / 6)  # - - x x x x


def test_it_learns_and_the_same_seed_gives_the_same_report() -> None:
    recipes: dict[str, Any] = {"quick": {"optimizer": {"learning_rate": 0.03}}, "experts": {"strategy": "experts"}}
    reports = []
    for seed in (1, 1, 2):
        report = backtest(world(120), recipes, delay=8, seed=seed)
        assert report["accuracy"]["quick"] > 0.75 > report["accuracy"]["majority"]
        assert report["log_loss"].keys() == {"quick", "experts"}
        del report["labels_per_second"], report["seed"]
        reports.append(json.dumps(report))
    assert reports[0] == reports[1] != reports[2]


def test_a_drift_raises_an_alarm_at_its_row() -> None:
    rows = np.random.default_rng(1).normal(size=(1200, 3)).astype(np.float32)
    labels = [int(row[0] > 0) ^ (number >= 800) for number, row in enumerate(rows)]
    report = backtest(stream(labels, rows), {"r": {}}, delay=16)
    assert any(800 < row < 1000 for row in report["alarms"]["r"])
    assert report["windows"]["rows"] == 50 and len(report["windows"]["accuracy"]["r"]) == 24


def test_inputs_that_move_are_seen_where_no_row_has_a_label_yet() -> None:
    rows = np.random.default_rng(1).normal(size=(1400, 3)).astype(np.float32)
    rows[900:, 1] += 2
    labels = [int(row[0] > 0) if number < 50 else None for number, row in enumerate(rows)]
    recipes = {"r": {}, "blind": {"input_detector": None}}
    report = backtest(stream(labels, rows, classes=[0, 1]), recipes, delay=5)
    (moved,) = report["input_alarms"]["r"]
    assert 870 < moved < 950 and report["input_alarms"]["blind"] == [] == report["alarms"]["r"]
    assert report["stream"]["unlabelled"] == 1350


def test_a_regression_is_scored_by_its_errors() -> None:
    rows = np.random.default_rng(1).normal(size=(400, 3)).astype(np.float32)
    labels = [float(100 + 10 * row[0]) for row in rows]
    report = backtest(stream(labels, rows), {"r": {}}, delay=4)
    assert "accuracy" not in report and "log_loss" not in report
    assert report["mae"].keys() == {"r", "last_value", "mean"}
    assert report["windows"]["mae"]["r"][-1] < report["windows"]["mae"]["mean"][-1]
    known = np.array(labels[: 400 - 5])
    errors = np.abs(np.array([0.0] * 5 + list(known)) - labels)
    assert report["mae"]["last_value"] == pytest.approx(errors.mean())


def test_where_it_is_known_what_was_served_only_those_rows_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    recorded = stream([0, 1, 0, 1], served={1: 1, 3: None}, weights=[1.0, 2.0, 3.0, 4.0])
    report = backtest(recorded, {"r": {}})
    assert report["accuracy"]["as_served"] == pytest.approx(2 / 6)
    assert report["stream"]["scored"] == 2 and report["stream"]["rows"] == 4
    items = [item for _, items, _, _ in spy.steps for item in items]
    assert [item.answer is not None for item in items] == [False, True, False, True]
    assert [item.weight for item in items] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("delay", [3, 100])
def test_a_stream_that_ends_before_its_first_label_is_scored(delay: int) -> None:
    report = backtest(stream([0, 1, 0]), {"r": {}}, delay=delay)
    assert report["accuracy"] == {"r": 0.0, "no_change": 0.0, "majority": 0.0}


def test_a_recipe_that_does_not_fit_says_so_before_anything_is_played() -> None:
    with pytest.raises(InvalidInput, match="batch_size"):
        backtest(world(), {"r": {"batch_size": 0}})
    with pytest.raises(InvalidInput, match="'majority'"):
        backtest(world(), {"majority": {}})


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("pattern", [(True, False), (False, True, True), (True, False, False, False)])
def test_a_row_without_a_label_is_predicted_and_ages_the_delay(
    monkeypatch: pytest.MonkeyPatch, delay: int, pattern: tuple[bool, ...]
) -> None:
    spy = Spy(monkeypatch)
    whole = world(160)
    labels = [label if pattern[row % len(pattern)] else None for row, label in enumerate(whole.labels)]
    played = stream(labels, whole.inputs.tensors["inputs"])
    report = backtest(played, {"r": {"batch_size": 16}}, delay=delay)
    assert spy.predicted == 160, "every row is predicted"
    seen = [int(item.id.removeprefix("b:")) for _, items, _, _ in spy.steps for item in items]
    assert seen == played.labelled[: len(seen)], "the labels that there are, in order"
    for predicted, items, _, _ in spy.steps:
        assert predicted == int(items[-1].id.removeprefix("b:")) + 1 + delay
    numbers = [number for _, _, numbers, _ in spy.steps for number in numbers]
    assert numbers == list(range(1, len(seen) + 1)), "a log holds labels alone"
    found = report["stream"]
    assert (found["rows"], found["scored"]) == (160, len(played.labelled))
    assert found["unlabelled"] == 160 - found["scored"]


def test_a_label_comes_when_its_time_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    whole = world(120)
    times = np.arange(120.0) // 2
    # Of every third row the label is known at once, of the next one after 10 units of time, of the last one never.
    known_at = np.where(np.arange(120) % 3 == 0, times, np.where(np.arange(120) % 3 == 1, times + 10, np.nan))
    labels = [label if row % 3 < 2 else None for row, label in enumerate(whole.labels)]
    arrivals = at_times(labels, times, known_at)
    played = stream(labels, whole.inputs.tensors["inputs"], arrivals=arrivals)
    report = backtest(played, {"r": {}})
    assert spy.predicted == 120 and report["delay"] is None
    seen = set()
    for predicted, items, _, _ in spy.steps:
        newest = times[min(predicted, 119)]
        for item in items:
            row = int(item.id.removeprefix("b:"))
            seen.add(row)
            assert row < predicted and known_at[row] <= newest
    assert seen and all(row % 3 < 2 for row in seen)
    assert any(row % 3 == 0 for row in seen) and any(row % 3 == 1 for row in seen)


@pytest.mark.parametrize("delay", [0, 3, 20])
def test_label_times_that_are_rows_later_are_the_same_as_a_delay(delay: int) -> None:
    whole = world(150)
    times = np.arange(150.0)
    late, timed = after_rows(whole.labels, delay), at_times(whole.labels, times, times + delay + 1)
    assert timed.rows == late.rows
    # No row comes after the last labels: only a delay tells that they are known when the stream ends.
    assert timed.due[: 149 - delay] == late.due[: 149 - delay] and set(timed.due[149 - delay :]) == {151}
    first, again = (
        backtest(stream(whole.labels, whole.inputs.tensors["inputs"], arrivals=each), {"r": {}}, delay=delay)
        for each in (None, timed)
    )
    for metric in ("accuracy", "auc", "log_loss", "recall"):
        assert first[metric] == again[metric]


def test_the_measures_of_a_report_are_those_of_what_was_answered() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    whole = world()
    played = harness.play(whole, whole.spec, 8, 0)
    report = backtest(whole, {"r": {}}, delay=8)
    assert played.probabilities is not None
    truth = np.array([whole.classes.index(label) for label in whole.labels if isinstance(label, int)])
    # A class that no label had shown yet was answered to be the least probable one.
    scores = np.nan_to_num(played.probabilities[:, 1])
    assert report["auc"] == {"r": pytest.approx(metrics.roc_auc_score(truth, scores))}
    assert report["average_precision"] == {"r": pytest.approx(metrics.average_precision_score(truth, scores))}
    assert set(report["recall"]["r"]) == {"0", "1"} == set(report["recall"]["majority"])
    assert np.mean(list(report["recall"]["r"].values())) == pytest.approx(report["balanced_accuracy"]["r"])


def test_progress_is_told_to_the_end_with_the_measure_so_far() -> None:
    told: list[harness.BacktestProgress] = []
    whole = world(200)
    report = backtest(whole, {"one": {}, "two": {"updates": 8}}, advance=told.append)
    assert list(dict.fromkeys(each.recipe for each in told)) == ["one", "two"]
    for name in ("one", "two"):
        rows = [each.rows for each in told if each.recipe == name]
        assert rows == sorted(rows) and rows[-1] == 200 and rows.count(200) == 1
        last = [each for each in told if each.recipe == name][-1]
        assert last.measure == pytest.approx(report["accuracy"][name], abs=1e-9)

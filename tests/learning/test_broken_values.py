"""One arbitrary value, a few of them or another unit: at the end of the stream the model is as good as without."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from driftline.backtest.replay import play
from driftline.backtest.stream import Stream
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, parse
from driftline.spec.task import TaskName

ROWS, LAST, DELAY = 450, 150, 32
MOST = 1.1
"""By what the error may be multiplied."""
Numbers = NDArray[np.float64]
Breaking = Callable[[Numbers, Numbers], None]
"""Changes inputs ``[rows, features]`` and labels ``[rows]``."""


def stream(task: TaskName) -> tuple[Numbers, Numbers]:
    """Inputs in different units, and what follows from them up to noise."""
    random = np.random.default_rng(1)
    scores = random.normal(size=(ROWS, 5))
    values = scores @ [1.0, -1.0, 0.5, 0.5, 1.0] + 0.5 * random.normal(size=ROWS)
    labels = values if task == "regression" else (values > 0).astype(np.float64)
    return scores * [1, 50, 0.01, 1, 1000] + [0, 300, 1, -5, 0], labels


def error(task: TaskName, strategy: str, breaking: Breaking, unit: float = 1.0) -> float:
    """The mean error over the last rows whose inputs are as they were, in terms of the true labels."""
    inputs, labels = stream(task)
    before, true = inputs.copy(), labels.copy()
    breaking(inputs, labels)
    spec: dict[str, Any] = {
        "name": "m",
        "task": task,
        "inputs": {"shape": [5]},
        "recipe": {"strategy": strategy},
        "network": {"preset": "mlp", "hidden": [16]},
    }
    found: list[float] | list[int] = labels.tolist()
    if task == "classification":
        spec["classes"] = [0, 1]
        found = labels.astype(int).tolist()
    played = Stream(parse(ModelSpec, spec), Rows({SINGLE_INPUT: inputs.astype(np.float32)}), list(found))
    answers = np.array(play(played, played.spec, DELAY, seed=0).answers[-LAST:], np.float64)
    is_changed = (inputs[-LAST:] != before[-LAST:]).any(1)
    is_whole = ~is_changed | is_changed.all()
    wrong = answers != true[-LAST:] if task == "classification" else np.abs(answers - true[-LAST:] * unit) / unit
    return float(wrong[is_whole].mean())


def nothing(inputs: Numbers, labels: Numbers) -> None:
    """Leaves all as it is."""


@cache
def whole(task: TaskName, strategy: str) -> float:
    return error(task, strategy, nothing)


def cell(row: int, value: float) -> Breaking:
    def breaking(inputs: Numbers, labels: Numbers) -> None:
        inputs[row, 1] = value

    return breaking


def label(row: int, value: float) -> Breaking:
    def breaking(inputs: Numbers, labels: Numbers) -> None:
        labels[row] = value

    return breaking


def some_cells(inputs: Numbers, labels: Numbers) -> None:
    random = np.random.default_rng(2)
    rows = random.permutation(ROWS)[: ROWS // 100]
    inputs[rows, random.integers(5, size=len(rows))] = 1e6


def units(inputs: Numbers, labels: Numbers) -> None:
    inputs[150:, 1] *= 1000


def tiny(inputs: Numbers, labels: Numbers) -> None:
    inputs *= 1e-9


INPUTS = {
    "the first row": cell(0, 1e6),
    "row 20": cell(20, -1e9),
    "row 250": cell(250, 3e38),
    "one row in a hundred": some_cells,
    "another unit": units,
    "tiny inputs": tiny,
}
LABELS = {
    "the first": label(0, 999999.0),
    "row 40": label(40, -1e6),
    "row 250": label(250, 1e9),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("strategy", ["replay", "experts"])
def test_a_regression_is_as_good_as_with_whole_inputs(strategy: str, kind: str) -> None:
    assert error("regression", strategy, INPUTS[kind]) < MOST * whole("regression", strategy)


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("strategy", ["replay", "finetune", "experts"])
def test_a_regression_is_as_good_as_with_whole_labels(strategy: str, kind: str) -> None:
    assert error("regression", strategy, LABELS[kind]) < MOST * whole("regression", strategy)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("strategy", ["replay", "experts"])
def test_a_regression_is_as_good_in_any_unit(strategy: str, unit: float) -> None:
    def breaking(inputs: Numbers, labels: Numbers) -> None:
        labels *= unit

    assert error("regression", strategy, breaking, unit) == pytest.approx(whole("regression", strategy), rel=0.02)


@pytest.mark.parametrize("kind", INPUTS)
def test_a_mixture_of_experts_is_as_good_as_with_whole_inputs(kind: str) -> None:
    # Of so few rows one more or less is a matter of chance.
    assert error("classification", "experts", INPUTS[kind]) <= MOST * whole("classification", "experts") + 3 / LAST

"""Whatever value comes, wherever it comes: answers stay finite and bounded, and learning goes on."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from driftline.backtest.replay import play
from driftline.backtest.stream import Stream
from driftline.ingest.rows import RowReader
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, parse

ROWS, LAST, FEATURES, DELAY = 240, 80, 3, 32
MOST = 1.5
"""By what the error may be multiplied."""
CHANCE = 4 / LAST
"""Of so few rows one or two more wrong answers say nothing."""
FAR = 10.0
"""How far answers of the last rows may be, where true labels have a deviation of about 1."""
KINDS = ("classes of tensors", "values of tensors", "classes of fields", "values of fields")
STRATEGIES = ("experts", "replay", "finetune")
Numbers = NDArray[np.float64]


def rows_and_values() -> tuple[Numbers, Numbers]:
    random = np.random.default_rng(5)
    rows = random.normal(size=(ROWS, FEATURES))
    return rows, rows @ [1.0, -1.0, 0.5] + 0.3 * random.normal(size=ROWS)


def answers(kind: str, strategy: str, rows: Numbers, labels: Numbers) -> list[Any]:
    """What is answered to each row, as the service would have."""
    has_fields, has_classes = "fields" in kind, "classes" in kind
    spec = parse(
        ModelSpec,
        {
            "name": "m",
            "task": "classification" if has_classes else "regression",
            "inputs": {"fields": {f"f{n}": "number" for n in range(FEATURES)}} if has_fields else {"shape": [FEATURES]},
            "recipe": {"strategy": strategy},
            "network": {"preset": "mlp", "hidden": [16]},
            **({"classes": [0, 1]} if has_classes else {}),
        },
    )
    if has_fields:
        found = [{f"f{n}": None if np.isnan(cell) else cell for n, cell in enumerate(row)} for row in rows.tolist()]
        inputs = RowReader(spec).batch(found)
    else:
        inputs = Rows({SINGLE_INPUT: rows.astype(np.float32)})
    known: list[Any] = [int(label > 0) for label in labels] if has_classes else labels.tolist()
    return list(play(Stream(spec, inputs, known), spec, DELAY, seed=0).answers)


def error(kind: str, found: list[Any]) -> float:
    """The error over the last rows."""
    true = rows_and_values()[1][-LAST:]
    last = np.array(found[-LAST:], np.float64)
    return float((last != (true > 0)).mean() if "classes" in kind else np.abs(last - true).mean())


@cache
def whole(kind: str, strategy: str) -> float:
    return error(kind, answers(kind, strategy, *rows_and_values()))


def check(kind: str, strategy: str, row: int, column: int, value: float) -> None:
    """A value in place of an input, or, in the column after them, of a label."""
    rows, labels = rows_and_values()
    if column < FEATURES:
        rows[row, column] = value
    else:
        labels[row] = value
    found = answers(kind, strategy, rows, labels)
    assert np.isfinite(np.array(found, np.float64)).all()
    assert np.abs(np.array(found[-LAST:], np.float64)).max() < FAR
    assert error(kind, found) <= MOST * whole(kind, strategy) + CHANCE


VALUES = st.builds(lambda sign, power: sign * 10.0**power, st.sampled_from([-1, 1]), st.floats(-300, 38))


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=2)
@given(
    kind=st.sampled_from(KINDS),
    row=st.integers(0, ROWS - LAST - 3 * DELAY),
    column=st.integers(0, FEATURES),
    value=VALUES,
)
@example(kind="values of fields", row=0, column=1, value=float("nan"))
@example(kind="values of tensors", row=0, column=FEATURES, value=-1e6)
def test_one_value_of_any_size_anywhere_stops_nothing(
    strategy: str, kind: str, row: int, column: int, value: float
) -> None:
    check(kind, strategy, row, column, value)

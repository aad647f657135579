"""From a table or a log to labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.backtest.stream import Stream, of_log, of_table
from driftline.backtest.table import Table
from driftline.errors import InvalidInput


def stream(columns: dict[str, list[Any]], target: str = "y", **options: Any) -> Stream:
    """The stream of a table; columns that hold a text are texts, None is missing."""
    typed = {
        name: cells if any(isinstance(cell, str) for cell in cells) else np.array(cells, float)
        for name, cells in columns.items()
    }
    return of_table(Table(Path("t.csv"), typed), target, **options)


def test_numbers_are_features_and_few_texts_a_feature_each() -> None:
    found = stream({"a": [1, 2, 3], "y": [0, 1, 0], "b": ["x", "z", "x"]})
    assert found.features == ["a", "b=x", "b=z"]
    assert found.inputs.tensors["inputs"].tolist() == [[1, 1, 0], [2, 0, 1], [3, 1, 0]]
    assert found.inputs.tensors["inputs"].dtype == np.float32
    assert found.spec.classes == "open" and found.spec.tensors["inputs"].shape == [3]


@pytest.mark.parametrize(
    ("target", "task", "labels"),
    [
        ([1.0, 0.0, 1.0, 1.0], "classification", [1, 0, 1, 1]),
        (["yes", "no", "no", "yes"], "classification", ["yes", "no", "no", "yes"]),
        (["true", "false", "true", "true"], "classification", ["true", "false", "true", "true"]),
        ([0.5, 1.5, 0.5, 0.5], "classification", ["0.5", "1.5", "0.5", "0.5"]),
        ([1.0, 2.0, 3.0, 4.0], "regression", [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_the_task_follows_from_the_target(target: list[Any], task: str, labels: list[Any]) -> None:
    found = stream({"a": [1, 2, 3, 4], "y": target})
    assert found.spec.task == task and found.labels == labels
    assert [type(label) for label in found.labels] == [type(label) for label in labels]


def test_many_whole_numbers_are_a_regression_unless_the_task_is_given() -> None:
    many: dict[str, list[Any]] = {"a": [0.0] * 120, "y": list(range(60)) * 2}
    assert stream(many).spec.task == "regression"
    assert stream(many, task="classification").labels[:3] == [0, 1, 2]
    assert stream({"a": [0.0] * 4, "y": [1, 2, 1, 2]}, task="regression").labels == [1.0, 2.0, 1.0, 2.0]


def test_the_last_value_stands_for_a_missing_one_and_nothing_comes_from_later_rows() -> None:
    found = stream({"a": [None, 1, None, 2], "b": [None, "x", None, "z"], "y": [0, 1, 0, 1]})
    assert found.inputs.tensors["inputs"].tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0], [2, 0, 1]]


def test_a_row_without_a_label_is_left_out() -> None:
    found = stream({"a": [1, 2, 3], "y": ["p", None, "q"]})
    assert found.labels == ["p", "q"] and found.skipped == 1 and found.inputs.tensors["inputs"].tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": [1], "y": [0]}, {"target": "z"}, "t.csv has no column 'z'; it has a, y"),
        ({"a": [1], "y": [0]}, {"drop": ["b"]}, "t.csv has no column 'b'"),
        ({"y": [0]}, {}, "no column besides the target"),
        ({"a": [1], "y": [0]}, {"drop": ["a"]}, "no column besides the target"),
        ({"a": [1], "y": [None]}, {}, "the target 'y' is missing in every row"),
        ({"id": [str(n) + "x" for n in range(21)], "y": [0] * 21}, {}, "'id' holds 21 different texts.*--drop id"),
        ({"a": [1, None], "y": [0, 0]}, {"missing": "error"}, "'a' has no value in row 2.*--drop a"),
        ({"a": [1, 2], "y": ["p", None]}, {"missing": "error"}, "'y' has no value in row 2"),
        ({"a": [1], "y": ["p"]}, {"task": "regression"}, "'y' of a regression holds 'p'"),
        ({"a": [1, float("inf")], "y": [0, 0]}, {}, r"a\[1\]: inf is not a finite float32"),
        ({"a": [1, 1e39], "y": [0, 0]}, {}, r"a\[1\]: 1e\+39 is not a finite float32"),
        ({"a": [1, 2, 3], "y": [0, 0.5, 1e39]}, {"task": "regression"}, r"y\[2\]: 1e\+39"),
    ],
)
def test_a_column_that_does_not_fit_is_named(columns: dict[str, list[Any]], options: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        stream(columns, **options)


def test_a_column_that_is_dropped_need_not_fit() -> None:
    found = stream({"a": [1, 2], "id": [None, "x"], "y": [0, 0]}, drop=["id"], missing="error")
    assert found.features == ["a"]


def test_a_log_is_a_stream_of_its_model() -> None:
    spec = {"name": "m", "task": "classification", "inputs": {"shape": [2]}, "classes": ["p", "q"]}
    answer = {"version": 1, "label": "q", "probabilities": [0.4, 0.6]}
    items = [
        {"inputs": [1.0, 2.0], "label": "p", "weight": 1.0, "answer": None},
        {"inputs": [3.0, 4.0], "label": "q", "weight": 2.0, "answer": answer},
    ]
    found = of_log(spec, items)
    assert found.labels == ["p", "q"] and found.weights == [1.0, 2.0] and found.served == {1: "q"}
    assert found.inputs.tensors["inputs"].tolist() == [[1, 2], [3, 4]]
    assert of_log(spec, items[:1]).served is None
    with pytest.raises(InvalidInput, match="the log of m holds no label"):
        of_log(spec, [])


def test_a_log_of_named_inputs_and_values() -> None:
    inputs = {"image": {"shape": [1, 2]}, "place": {"shape": [1], "dtype": "int64"}}
    spec = {"name": "m", "task": "regression", "inputs": inputs}
    row = {"image": [[1.0, 2.0]], "place": [7]}
    found = of_log(spec, [{"inputs": row, "label": 2, "weight": 1.0, "answer": {"version": 1, "value": 1.5}}])
    assert found.inputs.tensors["image"].shape == (1, 1, 2) and found.inputs.tensors["place"].dtype == np.int64
    assert found.labels == [2.0] and found.served == {0: 1.5}

"""From a log to labelled rows."""

from __future__ import annotations

import numpy as np
import pytest

from driftline.backtest.stream import of_log
from driftline.errors import InvalidInput


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


def test_of_a_log_each_fact_has_the_label_that_it_has_in_the_end() -> None:
    spec = {"name": "m", "task": "classification", "inputs": {"shape": [1]}, "classes": [0, 1]}
    items = [{"n": n, "inputs": [float(n)], "label": 0, "weight": 1.0, "answer": None} for n in (4, 5, 6)]
    later = [
        {**items[0], "n": 7, "label": 1, "revises": 4},
        {**items[0], "n": 8, "weight": 0.0, "revises": 7},
        {**items[1], "n": 9, "label": 1, "revises": 2},
    ]
    found = of_log(spec, [*items, *later])
    assert found.inputs.tensors["inputs"].flatten().tolist() == [4, 5, 6, 5], (
        "what is corrected may be in the log no more"
    )
    assert (found.labels, found.weights) == ([0, 0, 0, 1], [0.0, 1.0, 1.0, 1.0])


def test_a_log_of_named_inputs_and_values() -> None:
    inputs = {"image": {"shape": [1, 2]}, "place": {"shape": [1], "dtype": "int64"}}
    spec = {"name": "m", "task": "regression", "inputs": inputs}
    row = {"image": [[1.0, 2.0]], "place": [7]}
    found = of_log(spec, [{"inputs": row, "label": 2, "weight": 1.0, "answer": {"version": 1, "value": 1.5}}])
    assert found.inputs.tensors["image"].shape == (1, 1, 2) and found.inputs.tensors["place"].dtype == np.int64
    assert found.labels == [2.0] and found.served == {0: 1.5}


def test_a_log_of_fields_has_its_rows_as_they_were_sent() -> None:
    fields = {"fields": {"age": "number", "town": "category"}}
    spec = {"name": "m", "task": "classification", "inputs": fields, "classes": ["p", "q"]}
    rows = [{"age": 3.0, "town": "x"}, {"town": "y"}]
    found = of_log(spec, [{"inputs": row, "label": "q", "weight": 1.0, "answer": None} for row in rows])
    assert found.inputs.records is not None and len(found.inputs) == 2
    assert np.isnan(found.inputs.tensors["numbers"]).tolist() == [[False], [True]]
    assert found.classes == ["p", "q"]

"""From a file to a stream: rows of fields or of a tensor, with and without labels, in the order of their times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.backtest.history import History, HistoryOptions, read_history
from driftline.errors import InvalidInput
from driftline.rows.fields import FieldCoder
from driftline.spec import ModelSpec, parse

FIELDS = {"a": "number", "town": "category", "at": "time", "closed": "time"}
TABLE = """a,town,at,closed,y
1,x,2024-01-01,2024-01-02,p
2,,2024-01-02,2024-01-09,q
,z,2024-01-03,,
4,x,2024-01-04,2024-01-04,p
5,x,2024-01-05,2024-01-05,q
"""


def spec(inputs: Any = None, **changes: Any) -> ModelSpec:
    kind = {"name": "m", "task": "classification", "classes": ["p", "q"], "inputs": inputs or {"fields": FIELDS}}
    return parse(ModelSpec, kind | changes)


def history(folder: Path, text: str = TABLE, given: ModelSpec | None = None, **options: Any) -> History:
    (folder / "t.csv").write_text(text)
    return read_history(folder / "t.csv", "y", given or spec(), HistoryOptions(**options))


def sent(found: History) -> list[dict[str, Any]]:
    """The rows as a client would have sent them."""
    stream = found.stream
    assert stream.spec.fields is not None and stream.inputs.records is not None
    return [FieldCoder(stream.spec.fields).as_json(record) for record in stream.inputs.records]


def test_rows_are_those_of_the_spec_and_missing_is_a_value(tmp_path: Path) -> None:
    found = history(tmp_path)
    rows = sent(found)
    assert [row.get("a") for row in rows] == [1, 2, None, 4, 5]
    assert [row.get("town") for row in rows] == ["x", None, "z", "x", "x"]
    assert found.stream.labels == ["p", "q", None, "p", "q"] and found.stream.labelled == [0, 1, 3, 4]
    assert found.stream.features == list(FIELDS) and found.stream.arrivals is None


def test_labels_come_by_their_own_column_which_is_no_field_of_the_row(tmp_path: Path) -> None:
    found = history(tmp_path, time="at", label_time="closed").stream
    assert found.features == ["a", "town", "at"] and all(
        "closed" not in row for row in sent(history(tmp_path, label_time="closed"))
    )
    assert found.arrivals is not None
    # The second is known after the last row; the one of the fourth with the row after it, the fifth's never.
    assert dict(zip(found.arrivals.rows, found.arrivals.due, strict=True)) == {0: 1, 3: 4, 4: 5, 1: 6}


def test_the_time_of_a_row_is_the_only_field_of_times(tmp_path: Path) -> None:
    assert history(tmp_path, label_time="closed").stream.arrivals is not None
    with pytest.raises(InvalidInput, match="no column is one of times: name its column with --time"):
        history(tmp_path, given=spec({"fields": {"a": "number", "closed": "time"}}), label_time="closed")
    with pytest.raises(InvalidInput, match="there are at, closed: name its column"):
        history(tmp_path, TABLE.replace("town", "known"), label_time="known")


def test_rows_are_played_in_the_order_of_their_times(tmp_path: Path) -> None:
    first, *rows = TABLE.splitlines()
    backwards = "\n".join([first, *reversed(rows)]) + "\n"
    (straight, turned) = (history(tmp_path, text, time="at", label_time="closed") for text in (TABLE, backwards))
    assert sent(straight) == sent(turned) and straight.stream.labels == turned.stream.labels
    assert straight.stream.arrivals == turned.stream.arrivals
    assert [row.get("a") for row in sent(history(tmp_path, backwards, time="at"))] == [1, 2, None, 4, 5]
    assert [row.get("a") for row in sent(history(tmp_path, backwards))] == [5, 4, None, 2, 1]


def test_a_label_without_a_time_never_comes(tmp_path: Path) -> None:
    text = TABLE.replace("4,x,2024-01-04,2024-01-04,p", "4,x,2024-01-04,,p")
    found = history(tmp_path, text, label_time="closed").stream
    assert found.labels == ["p", "q", None, None, "q"]


def test_a_row_that_cannot_be_read_is_told_and_the_others_are_played(tmp_path: Path) -> None:
    found = history(tmp_path, TABLE.replace("4,x", "four,x"))
    assert found.stream.skipped == 1 and len(found.stream) == 4
    assert [str(row) for row in found.refused] == ["row 4: a: `four` is not a number"]


def test_a_limit_and_a_column_that_is_left_out(tmp_path: Path) -> None:
    found = history(tmp_path, limit=2, drop=["town"]).stream
    assert len(found) == 2 and found.features == ["a", "at", "closed"]


def test_a_tensor_takes_all_other_columns(tmp_path: Path) -> None:
    text = "a,b,y,note\n1,2,p,x\n3,,q,x\n5,6,,x\n"
    found = history(tmp_path, text, spec({"shape": [2, 1]}), drop=["note"])
    assert found.stream.inputs.tensors["inputs"].tolist() == [[[1], [2]], [[5], [6]]]
    assert found.stream.labels == ["p", None] and found.stream.features == ["a", "b"]
    assert [str(row) for row in found.refused] == ["row 2: b: it is missing, and a tensor has no place for that"]
    whole = history(tmp_path, "a,b,y\n1,2,p\n", spec({"shape": [2], "dtype": "int64"})).stream
    assert whole.inputs.tensors["inputs"].dtype == np.int64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": ["z"]}, "t.csv has no column 'z'"),
        ({"drop": ["y"]}, "'y' is the target"),
        ({"time": "y"}, "'y' is the target"),
        ({"time": "z"}, "t.csv has no column 'z'"),
        ({"label_time": "z"}, "t.csv has no column 'z'"),
        ({"time": "a"}, "'a' is no field of times; they are at, closed"),
        ({"time": "at", "label_time": "at"}, "'at' says when a row came, or when its label was known, not both"),
        ({"drop": ["closed"], "label_time": "closed"}, "'closed' is left out, and cannot be a time"),
        ({"drop": list(FIELDS)}, "there is no field to learn from"),
        ({"given": spec({"shape": [3]})}, "t.csv has 4 columns besides the target, and the input of m 3 numbers"),
        ({"given": spec({"i": {"shape": [3]}})}, "m takes tensors by name"),
        ({"given": spec({"shape": [1], "dtype": "int64"}), "text": "a,y\n1.5,p\n"}, "whole numbers, and 'a' holds 1.5"),
        ({"text": TABLE.replace("p\n", "\n").replace("q\n", "\n")}, "the target 'y' is missing in every row"),
        ({"text": "a,town,y\nx,z,p\n"}, "t.csv has no row that can be played: row 1: a: `x` is not a number"),
    ],
)
def test_what_cannot_be_played_is_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        history(tmp_path, **options)


def test_a_file_with_types_is_played_as_well(tmp_path: Path) -> None:
    rows = [{"a": 1, "town": "x", "y": "p"}, {"a": None, "y": "q"}, {"town": "z"}]
    (tmp_path / "t.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_history(tmp_path / "t.json", "y", spec()).stream
    assert found.labels == ["p", "q", None] and len(found.inputs) == 3

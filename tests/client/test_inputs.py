"""Rows of every kind of thing that holds rows become the same JSON."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import subprocess
import sys
import uuid
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from driftline.client.inputs import as_list, encode_inputs, encode_row
from driftline.errors import InvalidInput

ZONE = dt.timezone(dt.timedelta(hours=2))
COLUMNS: dict[str, list[Any]] = {
    "number": [1.5, None],
    "whole": [3, None],
    "text": ["a", None],
    "flag": [True, None],
    "time": [dt.datetime(2020, 1, 2, 3, 4, 5, 678000), None],
    "zoned": [dt.datetime(2020, 1, 2, tzinfo=dt.UTC), None],
    "day": [dt.date(2020, 1, 2), None],
    "money": [decimal.Decimal("1.25"), None],
    "lasted": [dt.timedelta(seconds=90), None],
}
SENT: dict[str, list[Any]] = {
    "number": [1.5, None],
    "whole": [3, None],
    "text": ["a", None],
    "flag": [True, None],
    "time": ["2020-01-02T03:04:05.678000+00:00", None],
    "zoned": ["2020-01-02T00:00:00+00:00", None],
    "day": ["2020-01-02", None],
    "money": [1.25, None],
    "lasted": [90.0, None],
}


class Colour(enum.Enum):
    RED = "red"


def sent(inputs: Any) -> Any:
    return json.loads(encode_inputs(inputs))


def rows_of(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS).assign(whole=pd.array([3, None], dtype="Int64"), text=pd.Categorical(["a", None]))


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(COLUMNS).with_columns(pl.col("text").cast(pl.Categorical))


def arrow_table() -> pa.Table:
    table = pa.table(COLUMNS)
    place = table.schema.get_field_index("text")
    return table.set_column(place, "text", table.column("text").dictionary_encode())


@pytest.mark.parametrize(
    "make",
    [
        lambda: COLUMNS,
        pandas_frame,
        polars_frame,
        arrow_table,
        lambda: arrow_table().to_batches()[0],
        lambda: {name: pl.Series(values) for name, values in COLUMNS.items()},
    ],
    ids=["columns", "pandas", "polars", "arrow", "record batch", "series"],
)
def test_a_table_is_its_columns_by_name_and_what_is_missing_is_null(make: Any) -> None:
    assert sent(make()) == SENT
    assert [json.loads(encode_row(row)) for row in as_list(make())] == rows_of(SENT)


def test_rows_are_dictionaries() -> None:
    rows = rows_of(COLUMNS)
    assert sent(rows) == rows_of(SENT)
    assert sent(iter(rows)) == rows_of(SENT)
    assert sent([pandas_frame().iloc[0]]) == rows_of(SENT)[:1]
    assert json.loads(encode_row(pandas_frame().iloc[1])) == rows_of(SENT)[1]
    assert sent([{"a": 1}, {}, {"b": "x"}]) == [{"a": 1}, {}, {"b": "x"}], "what is absent stays absent"


def test_any_arrow_stream_is_a_table() -> None:
    class Stream:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return arrow_table().__arrow_c_stream__(requested_schema)

    assert sent(Stream()) == SENT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (float("nan"), None),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.datetime64("NaT"), None),
        (np.datetime64("2020-01-02T03:04:05.123456789"), "2020-01-02T03:04:05.123456+00:00"),
        (np.timedelta64(90, "s"), 90.0),
        (np.timedelta64("NaT"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2020-01-02", tz=ZONE), "2020-01-02T00:00:00+02:00"),
        (pd.Timedelta("90s"), 90.0),
        (dt.datetime(2020, 1, 2, tzinfo=ZONE), "2020-01-02T00:00:00+02:00"),
        (decimal.Decimal("NaN"), None),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (Colour.RED, "red"),
        (pa.scalar(3), 3),
        (torch.tensor(2.0), 2.0),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0]),
        (-(2**63), -(2**63)),
    ],
)
def test_a_value_of_a_field_is_what_json_has_for_it(value: Any, expected: Any) -> None:
    assert sent([{"a": value}]) == [{"a": expected}]
    assert sent([{"a": value, "b": None}]) == [{"a": expected, "b": None}], "also beside one that is missing"
    assert json.loads(encode_row({"a": value})) == {"a": expected}


@pytest.mark.parametrize(
    "rows",
    [
        np.ones((2, 3), "float32"),
        np.ones((3, 2)).T,
        np.ones((2, 6), "float16")[:, ::2],
        np.ones((2, 3), ">f4"),
        np.ones((2, 3), object),
        torch.ones(2, 3, requires_grad=True),
        torch.ones(2, 3, dtype=torch.bfloat16),
        torch.ones(2, 3, dtype=torch.int64),
        [np.ones(3), torch.ones(3)],
        [[1.0, 1, True]] * 2,
        ((1.0, 1.0, 1.0) for _ in range(2)),
        pd.DataFrame(np.ones((2, 3))).to_numpy(),
    ],
    ids=lambda rows: f"{type(rows).__name__} {getattr(rows, 'dtype', '')}",
)
def test_arrays_and_tensors_are_nested_lists(rows: Any) -> None:
    assert sent(rows) == [[1.0] * 3] * 2


def test_a_structured_array_and_named_tensors_are_columns() -> None:
    assert sent(np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])) == {"a": [1], "b": [2.5]}
    named = {"user": np.array([1, 2]), "image": torch.ones(2, 2)}
    assert sent(named) == {"user": [1, 2], "image": [[1.0, 1.0]] * 2}
    assert [json.loads(encode_row(row)) for row in as_list(named)] == [
        {"user": 1, "image": [1.0, 1.0]},
        {"user": 2, "image": [1.0, 1.0]},
    ]


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ([[1.0, 2.0], [1.0, NAN]], "inputs[1][1]"),
        (np.array([[1.0], [INFINITY]]), "inputs[1][0]"),
        (torch.tensor([[1.0, NAN]]), "inputs[0][1]"),
        ({"image": [[1.0], [NAN]]}, "inputs.image[1][0]"),
        ([{"image": [1.0, NAN]}], "inputs[0].image[1]"),
        ([{"a": 1.0}, {"a": INFINITY}], "inputs[1].a"),
        ({"a": [1.0, -INFINITY]}, "inputs.a[1]"),
        (pd.DataFrame({"a": [NAN, INFINITY]}), "inputs.a[1]"),
        ([{"a": b"bytes"}], "inputs[0].a"),
        ([{"a": object()}], "inputs[0].a"),
        ([{"a": pd.Period("2020-01")}], "inputs[0].a"),
        ([{"a": 2**64}], "inputs[0].a"),
        ([{"a": "\ud800"}], "inputs[0].a"),
        ([{"a": 1j}], "inputs[0].a"),
        ([{1: 2}], "inputs[0]"),
        ([[object()]], "inputs[0][0]"),
        (5, "inputs"),
        ("rain", "inputs"),
        (None, "inputs"),
        ({"a": 3}, "inputs.a"),
        ({"a": "rain"}, "inputs.a"),
        (pl.LazyFrame({"a": [1]}), "inputs"),
        (pd.DataFrame(np.ones((1, 1))), "inputs"),
        (pd.DataFrame(np.ones((1, 2)), columns=["a", "a"]), "inputs"),
    ],
)
def test_what_cannot_be_sent_is_named(rows: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        encode_inputs(rows)
    assert refused.value.details["field"] == field
    assert refused.value.message.startswith(f"{field}: ")


def test_columns_of_different_length_are_no_rows() -> None:
    with pytest.raises(InvalidInput, match="columns of different length"):
        as_list({"a": [1], "b": [1, 2]})


def test_nothing_is_imported_that_the_caller_has_not() -> None:
    program = "\n".join(
        [
            "import sys, datetime, decimal",
            "from driftline.client.inputs import encode_inputs",
            "encode_inputs([{'a': 1.5, 'b': None, 'c': datetime.datetime.now(), 'd': decimal.Decimal(1)}])",
            "encode_inputs([[1.0]])",
            "print(*{'numpy', 'pandas', 'polars', 'pyarrow', 'torch'} & set(sys.modules))",
        ]
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not shown.split()

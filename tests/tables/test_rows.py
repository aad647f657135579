"""The rows of a table as a model takes them: every value as a request would send it, or the reason why not."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from driftline.errors import InvalidInput
from driftline.spec import ModelSpec, parse
from driftline.tables.blocks import RefusedRow
from driftline.tables.numbers import DecimalMark, parse_number, plain_numbers
from driftline.tables.reading import ReadingOptions, estimated_rows, open_table
from driftline.tables.rows import TableRow, rows_for


def spec(fields: dict[str, Any], **options: Any) -> ModelSpec:
    unknown = {"unknown": options.pop("unknown")} if "unknown" in options else {}
    task = {"task": "regression"} if "classes" not in options else {"task": "classification"}
    return parse(ModelSpec, {"name": "m", "inputs": {"fields": fields, **unknown}, **task, **options})


def rows(
    model: ModelSpec, path: Path, reading: ReadingOptions | None = None, **options: Any
) -> list[TableRow | RefusedRow]:
    with open_table(path, reading) as table:
        return list(rows_for(model, table, **options))


def inputs(found: Sequence[TableRow | RefusedRow], field: str) -> list[Any]:
    """The values of a field; of a refused row its reason."""
    return [row.inputs[field] if isinstance(row, TableRow) else row.reason for row in found]


def labels(found: Sequence[TableRow | RefusedRow]) -> list[Any]:
    return [row.label if isinstance(row, TableRow) else row.reason for row in found]


def column(path: Path, cells: Sequence[str], name: str = "x") -> Path:
    """A file of two columns, of which the first is ``name``."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[name, "other"], *([cell, "o"] for cell in cells)])
    return path


WRITTEN = st.one_of(st.none(), st.integers(-(10**15), 10**15), st.floats(-1e15, 1e15))
WORDS = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=4, max_size=8).filter(
    lambda text: text.casefold() not in {"null", "none"}
)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(WRITTEN, st.booleans() | st.none(), WORDS | st.none(), st.integers(0, 2)), min_size=1, max_size=40
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([",", ";", "\t", "|"]),
)
def test_the_values_of_any_frame_come_back(
    tmp_path: Path, frame: list[tuple[Any, ...]], encoding: str, delimiter: str
) -> None:
    with (tmp_path / "any.csv").open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["number", "flag", "word", "y"], *frame])
    model = spec({"number": "number", "flag": "boolean", "word": "category"}, classes=[0, 1, 2])
    reading = ReadingOptions(delimiter=delimiter, has_header=True)
    found = rows(model, tmp_path / "any.csv", reading, target="y", decimal=".")
    assert [(*row.inputs.values(), row.label) for row in found if isinstance(row, TableRow)] == frame


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        *(("1,234", ".", 1234), ("1,234", ",", 1.234), ("1.234,56", ",", 1234.56), ("1,234.56", ".", 1234.56)),
        *(("25,000", ".", 25000), ("1 234,5", ",", 1234.5), ("1\u202f234", ".", 1234), ("1\u00a0234.5", ".", 1234.5)),
        *(("$5", ".", 5), ("-$5", ".", -5), ("5 €", ",", 5), ("€ 1.234,50", ",", 1234.5), ("USD 12", ".", 12)),
        *(("3 %", ".", 3), ("3.5%", ".", 3.5), ("(12)", ".", -12), ("($1,200.50)", ".", -1200.5)),
        *(("1'234.5", ".", 1234.5), ("1,23,456", ".", 123456), ("−5", ".", -5), ("+5", ".", 5), ("1e-3", ".", 0.001)),
        *((".5", ".", 0.5), ("5.", ".", 5.0), ("0,5", ",", 0.5), ("007", ".", 7)),
        *(("0,123", ".", None), ("1,5", ".", None), ("1.5", ",", None), ("12 34", ".", None), ("1e999", ".", None)),
        *(
            ("inf", ".", None),
            ("1_000", ".", None),
            ("٣", ".", None),
            ("(5", ".", None),
            ("0x1F", ".", None),
            ("", ".", None),
        ),
    ],
)
def test_a_number_is_read_as_people_write_it(text: str, decimal: DecimalMark, value: float | None) -> None:
    assert parse_number(text, decimal) == value


@given(st.lists(st.from_regex(r"-?[0-9]{0,20}\.?[0-9]{0,9}", fullmatch=True) | st.text("0123456789.-", max_size=5)))
def test_numbers_read_at_once_are_those_read_singly(texts: list[str]) -> None:
    at_once = plain_numbers(texts)
    if at_once is not None:
        assert [(type(value), value) for value in at_once] == [
            (type(value), value) for value in (parse_number(text, ".") if text else None for text in texts)
        ]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1,5", "1.234", "2"], [1.5, 1234, 2]),
        (["1.5", "1,234", "2"], [1.5, 1234, 2]),
        (["1,234", "25,000"], [1234, 25000]),
        (["1.234", "0.5"], [1.234, 0.5]),
    ],
)
def test_the_mark_of_decimals_is_what_the_column_says(tmp_path: Path, cells: list[str], values: list[float]) -> None:
    path = column(tmp_path / "x.csv", cells)
    assert inputs(rows(spec({"x": "number"}), path), "x") == values


def test_a_mark_of_decimals_that_is_in_doubt_is_said_and_can_be_given(tmp_path: Path) -> None:
    path = column(tmp_path / "x.csv", ["1,234", "25,000"])
    with open_table(path) as table:
        found = rows_for(spec({"x": "number"}), table)
        assert "the comma of `1,234` is read as that of thousands (--decimal)" in map(str, found.doubts)
    assert inputs(rows(spec({"x": "number"}), path, decimal=","), "x") == [1.234, 25.0]
    assert inputs(rows(spec({"x": "number"}), path, decimal={"x": ","}), "x") == [1.234, 25.0]


def test_a_number_by_the_other_mark_is_refused_and_not_read_wrong(tmp_path: Path) -> None:
    found = inputs(rows(spec({"x": "number"}), column(tmp_path / "x.csv", ["1.5", "2.5", "3,75"])), "x")
    assert found == [1.5, 2.5, "`3,75` is not a number in a column whose decimals stand after a point"]


@pytest.mark.parametrize("kind", ["number", "boolean", "category", "time", "text"])
def test_what_stands_for_nothing_is_missing_in_any_field(tmp_path: Path, kind: str) -> None:
    words = ["", "?", "NA", "n/a", "NaN", "NULL", "None", "-", r"\N", "n.a.", " - ", "#N/A"]
    found = rows(spec({"x": kind}), column(tmp_path / "x.csv", words))
    assert inputs(found, "x") == [None] * len(words)


def test_yes_and_no_are_booleans_in_any_case(tmp_path: Path) -> None:
    pairs = {"yes": True, "No": False, "Y": True, "n": False, "TRUE": True, "False": False, "0": False, "1": True}
    pairs |= {"t": True, "F": False, "on": True, "OFF": False, "1.0": True}
    found = inputs(rows(spec({"x": "boolean"}), column(tmp_path / "x.csv", [*pairs, "maybe"])), "x")
    assert found == [*pairs.values(), "`maybe` is neither yes nor no"]


@pytest.mark.parametrize(
    ("field", "cell", "value"),
    [
        ("time", "2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z"),
        ("time", "2020-01-02 03:04", "2020-01-02 03:04"),
        ("time", "March 3rd, 2020 5pm", "2020-03-03T17:00:00"),
        ("time", "1600000000", 1600000000),
        ("time", "01/02/2020", "`01/02/2020` is no time by ISO 8601, nor a number since 1970"),
        ({"type": "time", "format": "%d/%m/%Y"}, "01/02/2020", "01/02/2020"),
        ({"type": "time", "format": "%d/%m/%Y"}, "2020-01-02", "`2020-01-02` is no time written as %d/%m/%Y"),
        ({"type": "time", "unit": "ms"}, "1600000000000", 1600000000000),
        ("time", "soon", "`soon` is no time by ISO 8601, nor a number since 1970"),
    ],
)
def test_a_time_is_what_a_request_sends(tmp_path: Path, field: Any, cell: str, value: Any) -> None:
    assert inputs(rows(spec({"x": field}), column(tmp_path / "x.csv", [cell])), "x") == [value]


def test_the_time_of_a_label_is_in_seconds_since_1970(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "x,iso,day,ms,y\n1,2020-01-01,31.12.2020 12:00,1577836800000,1\n2,,?,,2\n3,soon,1.1.2021 00:00,1,3\n"
    )
    model = spec({"x": "number"})
    start = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    iso = rows(model, path, target="y", label_time="iso")
    assert [row.time for row in iso if isinstance(row, TableRow)] == [start, None]
    assert str(iso[2]) == "row 3: iso: `soon` is no time by ISO 8601, nor a number since 1970"
    day = rows(model, path, target="y", label_time="day")
    noon = datetime(2020, 12, 31, 12, tzinfo=UTC).timestamp()
    assert [row.time for row in day if isinstance(row, TableRow)] == [
        noon,
        None,
        datetime(2021, 1, 1, tzinfo=UTC).timestamp(),
    ]
    assert [row.time for row in rows(model, path, label_time="ms") if isinstance(row, TableRow)] == [
        start,
        None,
        0.001 * 1000,
    ]


def test_columns_may_be_read_besides(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("x,at,key,y\n1,2020-01-01,k1,5\n2,,k2,6\n3,2020-01-02,bad,7\n")
    model = spec({"x": "number"})

    def keys(cells: Sequence[Any]) -> tuple[list[Any], dict[int, str]]:
        return [cell.upper() for cell in cells], {
            place: "it is bad" for place, cell in enumerate(cells) if cell == "bad"
        }

    found = rows(model, path, target="y", time="at", others={"key": keys})
    start = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    assert found[0] == TableRow(1, {"x": 1}, 5.0, None, start, {"key": "K1"})
    assert isinstance(found[1], TableRow) and found[1].came is None
    assert str(found[2]) == "row 3: key: it is bad"
    without = rows(model, path, target="y", has_inputs=False)
    assert [(row.inputs, row.label) for row in without if isinstance(row, TableRow)] == [
        ({}, 5.0),
        ({}, 6.0),
        ({}, 7.0),
    ]


def test_trouble_of_who_reads_a_table_is_not_told_of_the_file(tmp_path: Path) -> None:
    path = column(tmp_path / "x.csv", ["1", "2"])
    with pytest.raises(BrokenPipeError), open_table(path):
        raise BrokenPipeError


def test_about_how_many_rows_a_file_has_is_known_before_it_is_read(tmp_path: Path) -> None:
    text = "x\n" + "1\n" * 3000
    (tmp_path / "x.csv").write_text(text)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    parquet.write_table(pa.table({"x": [1] * 3000}), tmp_path / "x.parquet")
    (tmp_path / "x.json").write_text('[{"x": 1}]')
    found = [estimated_rows(tmp_path / name) for name in ("x.csv", "x.csv.gz", "x.parquet", "x.json")]
    assert found == [3001, 3001, 3000, None] and estimated_rows("-") is None


@pytest.mark.parametrize(
    ("classes", "cells", "expected"),
    [
        ([0, 1], ["0", "1.0", "", "2"], [0, 1, None, "`2` is none of the model's classes"]),
        (["no", "yes"], ["No", "YES", "?", "maybe"], ["no", "yes", None, "`maybe` is none of the model's classes"]),
        (["a", "A"], ["a", "A"], ["a", "A"]),
        (["none", "some"], ["none", "some"], ["none", "some"]),
        (["1", "2"], ["1", "2"], ["1", "2"]),
        ("open", ["3", "-4", "007", "x", "NA"], [3, -4, "007", "x", None]),
    ],
)
def test_a_label_is_a_class_of_the_model(tmp_path: Path, classes: Any, cells: list[str], expected: list[Any]) -> None:
    path = column(tmp_path / "x.csv", cells, "y")
    assert labels(rows(spec({"other": "category"}, classes=classes), path, target="y")) == expected


def test_a_label_of_a_regression_is_a_finite_number(tmp_path: Path) -> None:
    path = column(tmp_path / "x.csv", ["1,5", "2", "", "x", "1e99"], "y")
    found = labels(rows(spec({"other": "category"}), path, target="y"))
    assert found == [1.5, 2.0, None, "`x` is not a number", "label 1e+99 does not fit float32"]


def test_rows_keep_the_order_and_the_numbers_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("x,y\n1,1\n2\nx,3\n4,4\n5\n")
    found = rows(spec({"x": "number"}), path, target="y")
    assert [row.number for row in found] == [1, 2, 3, 4, 5]
    assert [row.number for row in found if isinstance(row, RefusedRow)] == [2, 3, 5]
    assert str(found[2]) == "row 3: x: `x` is not a number"


def test_typed_cells_are_what_json_has(tmp_path: Path) -> None:
    moment = datetime(2020, 1, 2, 3, 4, 5)
    table = pa.table(
        {
            "n": [Decimal("1.5"), Decimal("2")],
            "f": [1.0, float("nan")],
            "b": [True, None],
            "c": pa.array([3, None]),
            "t": pa.array([moment, None], pa.timestamp("ns")),
            "z": pa.array([moment, None], pa.timestamp("us", "Europe/Berlin")),
            "d": [date(2020, 1, 2), None],
            "v": [[[1, 2], [3, 4]], None],
            "y": ["1", "2"],
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    day = {"type": "time", "format": "%d.%m.%Y"}
    fields: dict[str, Any] = {
        "n": "number",
        "f": "number",
        "b": "boolean",
        "c": "category",
        "t": "time",
        "z": "time",
        "d": day,
    }
    fields["v"] = {"type": "tensor", "shape": [2, 2]}
    first, second = rows(spec(fields, classes="open"), tmp_path / "t.parquet", target="y")
    assert isinstance(first, TableRow) and isinstance(second, TableRow)
    zoned = "2020-01-02T04:04:05+01:00"
    times = {"t": "2020-01-02T03:04:05", "z": zoned, "d": "02.01.2020"}
    assert first.inputs == {"n": 1.5, "f": 1, "b": True, "c": 3, **times, "v": [[1, 2], [3, 4]]}
    assert second.inputs == {"n": 2} | dict.fromkeys(["f", "b", "c", "t", "z", "d", "v"])
    # A text of a typed file is a text.
    assert (first.label, second.label) == ("1", "2")


def test_typed_cells_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(
        '{"n": "12", "v": [1, 2]}\n{"n": [1]}\n{"n": {"a": 1}}\n{"n": true, "v": [1]}\n{"n": 1e400}\n{"v": [1, null]}\n'
    )
    found = rows(spec({"n": "number", "v": {"type": "tensor", "shape": [2]}}), tmp_path / "x")
    assert [getattr(row, "reason", None) for row in found] == [
        None,
        "`[1]` is a list",
        "`{'a': 1}` is an object",
        "it has the shape [1], and not [2]",
        "`inf` is not a finite number",
        "a number in it is missing or not finite",
    ]


def test_a_typed_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": [1.5, float("inf"), float("nan")]}), tmp_path / "x")
    assert inputs(rows(spec({"x": "number"}), tmp_path / "x"), "x") == [1.5, "`inf` is not a finite number", None]


def test_a_column_goes_by_the_names_of_its_field(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("old,extra,gone\n1,2,3\n4,5,6\n")
    fields = {
        "new": {"type": "number", "aliases": ["old"]},
        "absent": "text",
        "gone": {"type": "number", "dropped": True},
    }
    with open_table(tmp_path / "x.csv") as table:
        found = rows_for(spec(fields), table)
        assert [row.inputs for row in found if isinstance(row, TableRow)] == [{"new": 1}, {"new": 4}]
        assert [str(doubt) for doubt in found.doubts] == [
            "the model has no field for 'extra', left out",
            "there is no column for 'absent', missing in every row",
        ]
    with pytest.raises(InvalidInput, match="the model has no field 'extra'"):
        rows(spec(fields, unknown="refuse"), tmp_path / "x.csv")


def test_a_table_that_does_not_fit_the_model_is_refused(tmp_path: Path) -> None:
    path = column(tmp_path / "x.csv", ["1"])
    with pytest.raises(InvalidInput, match="has a column for none of the model's fields, which are q"):
        rows(spec({"q": "number"}), path)
    with pytest.raises(InvalidInput, match="has no column 'y'; it has x, other"):
        rows(spec({"x": "number"}), path, target="y")
    tensor = ModelSpec(name="m", task="regression", inputs={"shape": [2]})
    with pytest.raises(InvalidInput, match="m takes tensors, and a table has rows of fields"):
        rows(tensor, path)
    with open_table(path) as table, pytest.raises(RuntimeError, match="are read once"):
        list(rows_for(spec({"x": "number"}), table))
        list(rows_for(spec({"x": "number"}), table))

"""A spec is inferred from a file, and whatever was decided is said."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from driftline.errors import InvalidInput
from driftline.spec import ModelSpec, parse
from driftline.tables.infer import Inference, InferenceOptions, infer
from driftline.tables.reading import ReadingOptions, open_table
from driftline.tables.rows import TableRow, rows_for

ROWS = 120
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "many", "other", "are", "asleep"]


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def of_column(folder: Path, cells: Sequence[Any], name: str = "x", **options: Any) -> tuple[Any, str]:
    """The field that a column is inferred to be, beside another, and the doubts about it in one text."""
    shuffled = random.Random(1)
    others: dict[str, Sequence[Any]] = {
        "other": [round(shuffled.random(), 4) for _ in cells],
        "y": [shuffled.choice("ab") for _ in cells],
    }
    found = infer(write(folder / "x.csv", {name: cells, **others}), "y", InferenceOptions(**options))
    report = next(each for each in found.columns if each.name == name)
    assert found.spec["inputs"]["fields"][name] == report.field
    parse(ModelSpec, found.spec)
    return report.field, "\n".join(map(str, report.doubts))


def of_target(folder: Path, cells: Sequence[Any], **options: Any) -> tuple[Inference, str]:
    values = random.Random(2)
    path = write(folder / "x.csv", {"x": [round(values.random(), 4) for _ in cells], "y": cells})
    found = infer(path, "y", InferenceOptions(**options))
    return found, "\n".join(map(str, found.doubts))


def many(*cells: Any) -> list[Any]:
    """So many cells, of those given in turn."""
    return [cells[place % len(cells)] for place in range(ROWS)]


R = random.Random(7)
DAYS = [date(2020, 1, 1) + timedelta(place) for place in range(ROWS)]
FLOATS = [round(R.uniform(-5, 5), 3) for _ in range(ROWS)]


@pytest.mark.parametrize(
    ("cells", "field", "said"),
    [
        (FLOATS, "number", []),
        (many("1.5", "", "2.25"), "number", []),
        (many("1,234", "25,000", "17"), "number", ["`1,234` is 1234", "might also be that of decimals", "--decimal"]),
        (many("1.234,56", "2,5"), "number", ["`1.234,56` is 1234.56", "`2,5` is 2.5", "--decimal"]),
        (many("$5", "$12", "$7.50"), "number", ["`$5` is 5"]),
        (many("$5", "5 €"), "number", ["several currencies, which are not converted"]),
        (many("3 %", "4.5 %"), "number", ["`3 %` is 3"]),
        (many("3 %", "4.5"), "number", ["60 cells have a %, 60 have none"]),
        (["n.a.", *FLOATS[1:]], "number", ["read as missing: `n.a.` (1; first in row 1)"]),
        ([*FLOATS[:-1], r"\N"], "number", [r"read as missing: `\N` (1; first in row 120)"]),
        ([*FLOATS[:40], "abc", *FLOATS[41:]], "number", ["no number: `abc` (row 41); its row is refused"]),
        ([*FLOATS[:60], *("abc" for _ in range(60))], "category", ["50% of its cells are numbers"]),
        (
            many("2020-01-05", "2020-02-05", "5/1"),
            "category",
            ["67% of its cells are dates in one form, others", "`5/1`"],
        ),
        (many(1, 2, 3), "number", ["3 different whole numbers, which might be codes (--type x=category)"]),
        (many(0, 1), "number", ["0 and 1 (--type x=boolean)"]),
        (many("00501", "10115"), "category", ["begin with a zero, as codes do"]),
        (range(1, ROWS + 1), "ignore", ["it counts the rows, as an id does"]),
        (random.Random(3).sample(range(ROWS), ROWS), "ignore", ["it counts the rows, as an id does"]),
        (range(2, 3 * ROWS, 3), "number", ["each row has a larger number than the one before, as ids have"]),
        (
            [f"A-{place * 7919 % 1000}" for place in range(ROWS)],
            "ignore",
            ["every value is different, as those of an id"],
        ),
        (many("same"), "ignore", ["every cell is `same`"]),
        (many("same", ""), "category", []),
        (many("", "NA"), "ignore", ["every cell is missing", "read as missing: `NA` (60; first in row 2)"]),
        (many("red", "Red", "blue"), "category", ["spelled in several ways, each a value of its own: `red`, `Red`"]),
        ([f"city {R.randrange(90)}" for _ in range(ROWS)], "category", ["different values", "of them once"]),
        (many("yes", "No", "YES"), "boolean", ["`yes`, `No`, `YES` are true and false"]),
        (many("t", "f", ""), "boolean", ["`t`, `f` are true and false"]),
        (many("f", "m"), "category", []),
        (many("on", "OFF"), "boolean", ["a request sends these (--type x=category)"]),
        ([day.isoformat() for day in DAYS], "time", []),
        ([f"{day}T10:00:00Z" for day in DAYS], "time", []),
        (
            [day.strftime("%d.%m.%Y") for day in DAYS],
            {"type": "time", "format": "%d.%m.%Y"},
            ["are read as `%d.%m.%Y`"],
        ),
        ([day.strftime("%m/%d/%Y") for day in DAYS], {"type": "time", "format": "%m/%d/%Y"}, ["dates are read as"]),
        (
            [day.strftime("%Y%m%d") for day in DAYS],
            {"type": "time", "format": "%Y%m%d"},
            ["is read as year, month and day"],
        ),
        (
            [f"{day:%d/%m/%Y}" for day in DAYS if day.day <= 12 and day.month <= 12],
            {"type": "time", "format": "%d/%m/%Y"},
            ["the day or the month may stand first", "it might be `%m/%d/%Y` (--type x=time:FORMAT)"],
        ),
        (
            [f"{day:%B} {day.day}, {day.year} 5pm" for day in DAYS],
            "time",
            ["dates in several forms", "become ISO 8601; a request sends that"],
        ),
        ([" ".join(R.choices(WORDS, k=R.randrange(4, 12))) for _ in range(ROWS)], "text", []),
    ],
)
def test_a_column_is_what_its_cells_say_and_the_doubts_are_said(
    tmp_path: Path, cells: Sequence[Any], field: Any, said: list[str]
) -> None:
    found, doubts = of_column(tmp_path, cells)
    assert found == field
    assert all(each in doubts for each in said), doubts
    assert said or not doubts


@pytest.mark.parametrize(
    ("name", "cells", "field"),
    [
        ("created_at", [1_600_000_000 + 3601 * place for place in range(ROWS)], {"type": "time", "unit": "s"}),
        ("timestamp", [1_600_000_000_000 + 3601 * place for place in range(ROWS)], {"type": "time", "unit": "ms"}),
        ("amount", [1_600_000_000 - 3601 * place for place in range(ROWS)], "number"),
        ("user_id", [R.randrange(50) for _ in range(ROWS)], "category"),
        ("customerId", [place * 37 for place in range(ROWS)], "ignore"),
        ("zip", [R.randrange(10_000, 10_050) for _ in range(ROWS)], "category"),
        ("year", range(1900, 1900 + ROWS), "number"),
    ],
)
def test_the_name_of_a_column_says_what_its_numbers_are(
    tmp_path: Path, name: str, cells: list[int], field: Any
) -> None:
    found, doubts = of_column(tmp_path, cells, name)
    assert found == field
    assert bool(doubts) == (name != "amount")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        *(("category", "category"), ("text", "text"), ("ignore", "ignore"), ("number", "number")),
        ("time:%d/%m/%Y", {"type": "time", "format": "%d/%m/%Y"}),
    ],
)
def test_the_user_decides_what_a_column_is(tmp_path: Path, kind: str, field: Any) -> None:
    cells = [*(f"{day:%m/%d/%Y}" for day in DAYS[:20]), "12"]
    found, doubts = of_column(tmp_path, cells, types={"x": kind})
    assert found == field
    # What does not fit that is said.
    assert ("refused" in doubts) == (kind not in {"category", "text", "ignore"})
    assert of_column(tmp_path, cells, drop=["x"])[0] == "ignore"


def test_the_mark_of_decimals_is_decided_by_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", {"x": many("1,234", "25,000"), "y": many("a", "b")})
    assert infer(path, "y").decimals["x"] == "."
    found = infer(path, "y", InferenceOptions(decimal=","))
    with open_table(path, found.reading) as table:
        first = next(iter(rows_for(parse(ModelSpec, found.spec), table, target="y", decimal=found.decimals)))
    assert isinstance(first, TableRow) and first.inputs == {"x": 1.234}


@pytest.mark.parametrize(
    ("cells", "task", "classes", "said"),
    [
        (FLOATS, "regression", None, ""),
        (many("1,5", "2,5", *(f"{place},5" for place in range(3, 40))), "regression", None, "`1,5` is 1.5"),
        (many(0, 1), "classification", [0, 1], ""),
        (many("0.0", "1.0"), "classification", [0, 1], ""),
        (many(*range(10)), "classification", list(range(10)), "taken for classes, they might be a quantity"),
        (many(0.5, 1.5), "regression", None, "taken for a quantity, they might be classes"),
        (many(*range(30)), "regression", None, ""),
        (many("cat", "dog"), "classification", ["cat", "dog"], ""),
        (many("Yes", "no", "NO", "no"), "classification", ["Yes", "no"], "`no` (60), `NO` (30) are `no`"),
        (many("007", "008"), "classification", ["007", "008"], "begin with a zero"),
        (many(*(f"c{place}" for place in range(51))), "classification", "open", "are too many to list"),
        (
            [*many("a", "b")[:-1], "aa"],
            "classification",
            ["a", "aa", "b"],
            "classes of a single row, perhaps misspelled: `aa`",
        ),
        (many("a", "", "b"), "classification", ["a", "b"], "40 of 120 rows have no label"),
        (many("a"), "classification", ["a"], "there is one class only"),
        ([f"{place} of many" for place in range(ROWS)], "classification", "open", "is it the right column?"),
        ([*FLOATS[:-1], "broken"], "regression", None, "`broken` (row 120)"),
    ],
)
def test_the_target_says_the_task(tmp_path: Path, cells: list[Any], task: str, classes: Any, said: str) -> None:
    found, doubts = of_target(tmp_path, cells)
    assert (found.spec["task"], found.spec.get("classes")) == (task, classes)
    assert said in doubts if said else not doubts


def test_the_user_decides_the_task(tmp_path: Path) -> None:
    assert of_target(tmp_path, many(1, 2, 3), task="regression")[0].spec["task"] == "regression"
    assert of_target(tmp_path, many(1, 2, 3), task="classification")[0].spec["classes"] == [1, 2, 3]
    assert of_target(tmp_path, many(1.5, 2.5), task="classification")[0].spec["classes"] == ["1.5", "2.5"]
    with pytest.raises(
        InvalidInput, match="a regression needs numbers, and 100% of the target 'y' are none, such as `a`"
    ):
        of_target(tmp_path, many("a", "b"), task="regression")


def test_a_column_that_tells_the_target_is_said(tmp_path: Path) -> None:
    shuffled = random.Random(4)
    y = [shuffled.choice(["won", "lost"]) for _ in range(400)]
    price = [round(shuffled.uniform(1, 9), 3) for _ in y]
    columns: dict[str, Sequence[Any]] = {
        "copy": [each[0] for each in y],
        "fair": [shuffled.choice("ab") for _ in y],
        "closed": [("2020-01-01" if each == "won" else "") for each in y],
        "amount": [round(shuffled.uniform(10, 20) if each == "won" else shuffled.uniform(0, 5), 3) for each in y],
        "cents": [round(100 * each + 5, 1) for each in price],
    }

    def leaking(target: str) -> dict[str, str]:
        found = infer(tmp_path / "x.csv", target)
        doubts = [doubt for each in found.columns for doubt in each.doubts if "before the target" in doubt.text]
        return {str(doubt.column): doubt.text.split(":")[0] for doubt in doubts}

    write(tmp_path / "x.csv", {**columns, "price": price, "y": y})
    assert leaking("y") == {
        "copy": "its values tell 100.0% of the labels",
        "closed": "whether it is missing tells 100.0% of the labels",
        "amount": "its numbers of each class lie apart from those of the others",
    }
    assert leaking("price") == {"cents": "it is the target on a scale (r = 1.0000)"}


def test_every_row_of_the_file_is_read_by_its_own_spec(tmp_path: Path) -> None:
    shuffled = random.Random(5)
    columns: dict[str, Sequence[Any]] = {
        "id": range(ROWS),
        "price": [f"{shuffled.uniform(0, 9000):,.2f}" for _ in range(ROWS)],
        "share": [f"{shuffled.randrange(99)} %" for _ in range(ROWS)],
        "day": [f"{day:%d.%m.%Y}" for day in DAYS],
        "paid": many("Yes", "no", "NO", ""),
        "city": many("Köln", "Zürich", "?"),
        "note": [" ".join(shuffled.choices(WORDS, k=6)) for _ in range(ROWS)],
        "y": many("up", "Down", "down", ""),
    }
    path = write(tmp_path / "own file.csv", columns)
    found = infer(path, "y")
    assert found.spec["name"] == "own-file"
    with open_table(path, found.reading) as table:
        rows = list(rows_for(parse(ModelSpec, found.spec), table, target="y", decimal=found.decimals))
    read = [row for row in rows if isinstance(row, TableRow)]
    assert len(read) == found.rows == ROWS
    assert {row.label for row in read} == {"up", "Down", None} or {row.label for row in read} == {"up", "down", None}
    fields = found.spec["inputs"]["fields"]
    assert {name for row in read for name, value in row.inputs.items() if value is not None} == fields.keys() - {"id"}


def test_small_blocks_change_nothing(tmp_path: Path) -> None:
    columns = {"x": many("1,5", "2.000,5", ""), "d": [f"{day:%d.%m.%Y}" for day in DAYS], "y": many("a", "b", "c")}
    path = write(tmp_path / "x.csv", columns)
    small = infer(path, "y", InferenceOptions(reading=ReadingOptions(block_rows=4)))
    whole = infer(path, "y")
    assert (small.spec, small.columns, small.decimals) == (whole.spec, whole.columns, whole.decimals)


def test_more_values_than_are_kept_are_counted_on(tmp_path: Path) -> None:
    count = 60_000
    columns = {
        "key": [f"k{place}" for place in range(count)],
        "value": [*(f"{place}.5" for place in range(count - 1)), "odd"],
        "id": range(count),
        "broken": [*range(count - 1), 5],
        "y": ["a", "b"] * (count // 2),
    }
    found = infer(write(tmp_path / "x.csv", columns), "y")
    assert found.spec["inputs"]["fields"] == {"key": "ignore", "value": "number", "id": "ignore", "broken": "number"}
    value = next(each for each in found.columns if each.name == "value")
    assert "no number: `odd` (row 60,000); its row is refused" in str(value.doubts[0])


def test_rows_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x,y\n" + "1.5,a\n2.5,b\n" * 10 + "3\n")
    found = infer(tmp_path / "x.csv", "y")
    assert (found.rows, found.refused_rows) == (20, 1)
    assert "1 row cannot be read: row 21: 1 cell where there are 2 columns" in "\n".join(map(str, found.doubts))


def test_typed_columns_are_what_their_types_say(tmp_path: Path) -> None:
    values = random.Random(6)
    table = pa.table(
        {
            "flag": many(True, False, None),
            "day": [DAYS[place] for place in range(ROWS)],
            "x": [values.random() for _ in range(ROWS)],
            "pixels": [[values.random() for _ in range(4)] for _ in range(ROWS)],
            "tags": [["a"] * values.randrange(3) for _ in range(ROWS)],
            "nested": [{"a": 1}] * ROWS,
            "word": pa.array(many("a", "b")).dictionary_encode(),
            "y": many(True, False),
        }
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    found = infer(tmp_path / "x.parquet", "y")
    assert found.spec["classes"] == ["false", "true"]
    assert found.spec["inputs"]["fields"] == {
        "flag": "boolean",
        "day": "time",
        "x": "number",
        "pixels": {"type": "tensor", "shape": [4]},
        "tags": "ignore",
        "nested": "ignore",
        "word": "category",
    }
    doubts = {each.name: "; ".join(map(str, each.doubts)) for each in found.columns}
    assert doubts["tags"] == "its cells are lists that are not all numbers of one shape"
    assert doubts["nested"] == "its cells are objects or bytes"


def test_a_field_that_comes_late_in_ndjson_is_missing_before(tmp_path: Path) -> None:
    lines = [
        {"x": place * 1.5, "y": "ab"[place % 2]} | ({"late": "cd"[place // 2 % 2]} if place >= 90 else {})
        for place in range(ROWS)
    ]
    (tmp_path / "x.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = infer(tmp_path / "x.ndjson", "y", InferenceOptions(reading=ReadingOptions(block_rows=10)))
    late = next(each for each in found.columns if each.name == "late")
    assert (late.kind, late.missing) == ("category", 0.75)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("z", {}, "has no column 'z'; it has x, y"),
        ("y", {"types": {"z": "number"}}, "has no column 'z'"),
        ("y", {"types": {"x": "nummer"}}, "'nummer' is no kind of column 'x'; there are boolean, category"),
        ("y", {"types": {"x": "number:%d"}}, "'number:%d' is no kind of column 'x'"),
        ("y", {"types": {"x": "time:day"}}, "'day' is no format of dates for 'x'"),
        ("y", {"types": {"y": "number"}}, "'y' is the target: --task says"),
        ("y", {"drop": ["x"]}, "no column but the target is left to learn from"),
        ("y", {"name": "No Name"}, "name: .* not 'No Name'"),
    ],
)
def test_what_cannot_be_is_an_error(tmp_path: Path, target: str, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "x.csv", {"x": FLOATS, "y": many("a", "b")})
    with pytest.raises(InvalidInput, match=message):
        infer(path, target, InferenceOptions(**options))


HOUSES = {
    "size": [f"{n % 7}.5" for n in range(60)],
    "price": [str(1000 + 3.5 * n) for n in range(60)],
    "area": [str(40 + n % 30) for n in range(60)],
}


def test_several_targets_are_the_outputs_of_a_regression(tmp_path: Path) -> None:
    path = write(tmp_path / "houses.csv", HOUSES)
    found = infer(path, ["price", "area"], InferenceOptions(intervals=[0.1, 0.9]))
    assert found.spec["task"] == "regression" and found.spec["outputs"] == ["price", "area"]
    assert found.spec["intervals"] == [0.1, 0.9] and list(found.spec["inputs"]["fields"]) == ["size"]
    assert [each.name for each in found.columns if each.field is None] == ["price", "area"]
    spec = parse(ModelSpec, found.spec)
    for target in (["price", "area"], ["area", "price"]):
        with open_table(path, found.reading) as table:
            row = next(iter(rows_for(spec, table, target=target, decimal=found.decimals)))
        assert isinstance(row, TableRow) and row.label == [1000.0, 40.0], "by name, in any order"


def test_other_names_go_by_their_order(tmp_path: Path) -> None:
    spec = parse(ModelSpec, {"name": "m", "task": "regression", "outputs": 2, "inputs": {"fields": {"size": "number"}}})
    with open_table(write(tmp_path / "houses.csv", HOUSES)) as table:
        row = next(iter(rows_for(spec, table, target=["area", "price"])))
    assert isinstance(row, TableRow) and row.label == [40.0, 1000.0]


@pytest.mark.parametrize(
    ("cells", "label"),
    [
        (("", ""), None),
        (("1", "2"), [1.0, 2.0]),
        (("1", ""), "row 1: label.area: it is missing, and a label has a number for each output"),
        (("x", "2"), "row 1: label.price: "),
    ],
)
def test_a_row_has_all_outputs_or_none(tmp_path: Path, cells: tuple[str, str], label: Any) -> None:
    outputs = {"task": "regression", "outputs": ["price", "area"]}
    spec = parse(ModelSpec, {"name": "m", **outputs, "inputs": {"fields": {"size": "number"}}})
    path = write(tmp_path / "houses.csv", {"size": ["1"], "price": [cells[0]], "area": [cells[1]]})
    with open_table(path) as table:
        row = next(iter(rows_for(spec, table, target=["price", "area"])))
    assert row.label == label if isinstance(row, TableRow) else str(row).startswith(label)


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["price", "price"], {}, "the target 'price' is named twice"),
        (["price", "town"], {}, "a regression needs numbers, and 100% of the target 'town' are none, such as `rome`"),
        (["price", "nothing"], {}, "nothing"),
        (["price", "area"], {"task": "classification"}, "--task classification has one target, not 'price', 'area'"),
        ("town", {"intervals": [0.1, 0.9]}, "--intervals belong to a regression, and 'town' is taken for classes"),
        (["price", "area"], {"types": {"area": "number"}}, "'area' is the target"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, targets: Any, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "houses.csv", {**HOUSES, "town": ["rome", "oslo"] * 30})
    with pytest.raises(InvalidInput, match=re.escape(message)):
        infer(path, targets, InferenceOptions(**options))


def test_a_label_of_several_outputs_needs_a_column_for_each(tmp_path: Path) -> None:
    inputs = {"inputs": {"fields": {"size": "number"}}}
    several = parse(ModelSpec, {"name": "m", "task": "regression", "outputs": ["price", "area"], **inputs})
    one = parse(ModelSpec, {"name": "m", "task": "regression", **inputs})
    with open_table(write(tmp_path / "houses.csv", HOUSES)) as table:
        with pytest.raises(InvalidInput, match="m has 2 outputs, price, area: name a column for each with --target"):
            rows_for(several, table, target="price")
        with pytest.raises(InvalidInput, match="a label of m is one column; --target names 'price', 'area'"):
            rows_for(one, table, target=["price", "area"])


def test_lists_of_classes_in_cells(tmp_path: Path) -> None:
    spec = parse(
        ModelSpec,
        {"name": "m", "task": "multilabel", "classes": ["a", "b", 3], "inputs": {"fields": {"x": "number"}}},
    )
    cells = ["a|b", "3", "[]", '["b", 3]', "", "a|a", "c", "[", " A | b "]
    path = write(tmp_path / "lists.csv", {"x": ["1"] * len(cells), "y": cells})
    with open_table(path) as table:
        found = [row.label if isinstance(row, TableRow) else row.reason for row in rows_for(spec, table, target="y")]
    assert found[:5] == [["a", "b"], [3], [], ["b", 3], None]
    assert found[5:] == [
        "`a|a` names `a` twice",
        "`c` is none of the model's classes",
        "`[` is no list of classes",
        ["a", "b"],
    ]


def of_labels(path: Path, cells: Sequence[Any], **options: Any) -> tuple[Inference, str]:
    """What is inferred of a target in NDJSON or CSV, and the doubts about it."""
    shuffled = random.Random(1)
    others = [round(shuffled.random(), 4) for _ in cells]
    if path.suffix == ".ndjson":
        path.write_text("".join(json.dumps({"x": x, "y": y}) + "\n" for x, y in zip(others, cells, strict=True)))
    elif path.suffix == ".parquet":
        parquet.write_table(pa.table({"x": others, "y": cells}), path)
    else:
        write(path, {"x": others, "y": cells})
    found = infer(path, "y", InferenceOptions(**options))
    parse(ModelSpec, found.spec)
    return found, "\n".join(map(str, found.doubts))


LISTS = [["spam"], ["urgent", "spam"], [], ["billing"], ["billing", "urgent"], ["spam", "billing", "urgent"]] * 20


@pytest.mark.parametrize("suffix", ["ndjson", "parquet", "csv"])
def test_a_column_of_lists_is_a_target_of_several_classes(tmp_path: Path, suffix: str) -> None:
    cells = [json.dumps(each) for each in LISTS] if suffix == "csv" else LISTS
    found, doubts = of_labels(tmp_path / f"x.{suffix}", cells)
    assert found.spec["task"] == "multilabel" and found.spec["classes"] == ["billing", "spam", "urgent"]
    assert "lists of 3 classes: a row may be of several of them" in doubts
    with open_table(tmp_path / f"x.{suffix}", found.reading) as table:
        rows = rows_for(parse(ModelSpec, found.spec), table, target="y", decimal=found.decimals)
        assert [row.label for row in rows if isinstance(row, TableRow)] == LISTS


def test_lists_of_integers_are_classes_and_lists_of_fractions_are_not(tmp_path: Path) -> None:
    found, _ = of_labels(tmp_path / "x.ndjson", [[1], [2, 3], [], [10, 1]] * 30)
    assert found.spec["classes"] == [1, 2, 3, 10]
    with pytest.raises(InvalidInput, match="holds lists, objects or dates"):
        of_labels(tmp_path / "x.ndjson", [[1.5], [2.0, 3.0]] * 30)
    with pytest.raises(InvalidInput, match="something else than texts and integers"):
        of_labels(tmp_path / "x.ndjson", [[1.5], [2.0, 3.0]] * 30, task="multilabel")
    with pytest.raises(InvalidInput, match="every list of the target 'y' is empty"):
        of_labels(tmp_path / "x.ndjson", [[], []] * 30)


@pytest.mark.parametrize("mark", ["|", ";", ", "])
def test_texts_with_marks_between_classes_are_several_classes_and_a_doubt(tmp_path: Path, mark: str) -> None:
    cells = [mark.join(each) for each in LISTS]
    found, doubts = of_labels(tmp_path / "x.csv", cells)
    assert found.spec["task"] == "multilabel" and found.spec["classes"] == ["billing", "spam", "urgent"]
    assert f"are lists of 3 classes with `{mark.strip()}` between them" in doubts
    assert "(--task classification)" in doubts
    with open_table(tmp_path / "x.csv", found.reading) as table:
        rows = rows_for(parse(ModelSpec, found.spec), table, target="y", decimal=found.decimals)
        labels = [row.label for row in rows if isinstance(row, TableRow)]
    assert labels == [each or None for each in LISTS], "an empty cell is a row without a label"
    assert of_labels(tmp_path / "x.csv", cells, task="classification")[0].spec["task"] == "classification"


@pytest.mark.parametrize(
    "cells",
    [
        ["S, red", "M, red", "S, blue", "M, blue", "L, red", "L, blue"] * 20,
        ["1,5", "2,25", "3,75", "1.200,5"] * 30,
        [f"{n}, Main Street {n % 7}" for n in range(120)],
        ["yes", "no"] * 60,
    ],
)
def test_other_texts_with_commas_stay_what_they_were(tmp_path: Path, cells: list[str]) -> None:
    assert of_labels(tmp_path / "x.csv", cells)[0].spec["task"] != "multilabel"
    if " " in cells[0]:
        return
    assert "several" not in of_labels(tmp_path / "x.csv", cells)[1]


def test_several_classes_can_be_asked_for_where_the_file_does_not_say_it(tmp_path: Path) -> None:
    found, doubts = of_labels(tmp_path / "x.csv", ["S, red", "M, red", "S, blue"] * 40)
    assert found.spec["task"] == "classification" and "(--task multilabel)" in doubts
    asked, _ = of_labels(tmp_path / "x.csv", ["S, red", "M, red", "S, blue"] * 40, task="multilabel")
    assert asked.spec["task"] == "multilabel" and asked.spec["classes"] == ["M", "S", "blue", "red"]
    single, _ = of_labels(tmp_path / "x.csv", ["yes", "no"] * 60, task="multilabel")
    assert single.spec["classes"] == ["no", "yes"]

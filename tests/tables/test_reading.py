"""Files as people have them are read: what they hold comes back, and what cannot be read is told by its row."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import subprocess
import sys
import weakref
import zipfile
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv as pyarrow_csv
from pyarrow import parquet

from driftline.errors import InvalidInput
from driftline.tables.blocks import RefusedRow
from driftline.tables.reading import ReadingOptions, open_table

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252")
DELIMITERS = (",", ";", "\t", "|")
Cells = dict[str, list[Any]]


def read(path: Path | str, options: ReadingOptions | None = None) -> tuple[Cells, list[int], list[RefusedRow]]:
    with open_table(path, options) as table:
        columns: Cells = {}
        numbers: list[int] = []
        refused: list[RefusedRow] = []
        for block in table.blocks():
            for name, cells in block.columns.items():
                columns.setdefault(name, [None] * len(numbers)).extend(cells)
            numbers += block.numbers
            refused += block.refused
        return columns, numbers, refused


def doubts(path: Path, options: ReadingOptions | None = None) -> str:
    with open_table(path, options) as table:
        for _ in table.blocks():
            pass
        return "\n".join(map(str, table.doubts))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def texts(encoding: str) -> st.SearchStrategy[str]:
    codec = "utf-8" if encoding.startswith("utf") else encoding
    return st.text(st.characters(codec=codec, exclude_characters="\x00"), max_size=12)


@st.composite
def frames(draw: st.DrawFn) -> tuple[str, str, list[str], list[list[Any]]]:
    encoding, delimiter = draw(st.sampled_from(ENCODINGS)), draw(st.sampled_from(DELIMITERS))
    cells = st.one_of(
        texts(encoding), st.floats(allow_nan=False), st.integers(-(10**12), 10**12), st.booleans(), st.none()
    )
    width = draw(st.integers(1, 5))
    rows = draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=30))
    return encoding, delimiter, [f"column {place}" for place in range(width)], rows


@settings(max_examples=150)
@given(frames())
def test_any_frame_written_as_csv_comes_back(
    tmp_path: Path, frame: tuple[str, str, list[str], list[list[Any]]]
) -> None:
    encoding, delimiter, names, rows = frame
    with (tmp_path / "any.csv").open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerow(names)
        writer.writerows(rows)
    marked = None if encoding in ("utf-8-sig", "utf-16") else encoding
    columns, numbers, refused = read(tmp_path / "any.csv", ReadingOptions(marked, delimiter, True))
    written = [["" if cell is None else str(cell) for cell in row] for row in rows]
    assert list(columns) == names
    assert [list(row) for row in zip(*columns.values(), strict=True)] == written
    assert (numbers, refused) == (list(range(1, len(rows) + 1)), [])


@settings(max_examples=50)
@given(st.lists(st.tuples(texts("utf-8"), st.integers(), st.booleans()), max_size=80), st.integers(1, 60), st.data())
def test_reading_in_blocks_gives_what_reading_at_once_gives(
    tmp_path: Path, rows: list[tuple[Any, ...]], block_rows: int, data: st.DataObject
) -> None:
    lines = [json.dumps(dict(zip("abc", row, strict=True))) for row in rows]
    broken = data.draw(st.sets(st.integers(0, max(0, len(rows) - 1)), max_size=5))
    lines = ["{" if place in broken else line for place, line in enumerate(lines)]
    ndjson = write(tmp_path / "any.ndjson", "\n".join(['{"a": "first"}', *lines]))
    assert read(ndjson, ReadingOptions(block_rows=block_rows)) == read(ndjson)

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=data.draw(st.sampled_from(["\n", "\r\n", "\r"])))
    writer.writerow("abc")
    writer.writerows([row[:2] if place in broken else row for place, row in enumerate(rows)])
    path = write(tmp_path / "any.csv", buffer.getvalue())
    small = ReadingOptions("utf-8", ",", True, block_rows)
    assert read(path, small) == read(path, ReadingOptions("utf-8", ",", True))


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encoding_and_separator_are_found(tmp_path: Path, encoding: str, delimiter: str) -> None:
    rows = [["Größe", "prix", "ville"], ["3,5", "12", "Orléans"], ["4,25", "7", "Besançon, Doubs"], ["1", "", "Zürich"]]
    with (tmp_path / "found.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    columns, _, refused = read(tmp_path / "found.csv")
    assert list(columns) == rows[0]
    assert [list(row) for row in zip(*columns.values(), strict=True)] == rows[1:]
    assert not refused


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("имя,город\nИван,Москва\nОльга,Казань\nСергей,Нижний Новгород\n", "cp1251"),
        ("imię,miasto\nŁukasz,Łódź\nŻaneta,Wrocław\nGrzegorz,Gdańsk\n", "cp1250"),
        ("名前,都市\n太郎,東京\n花子,大阪市\n次郎,名古屋市\n", "cp932"),
        ("a,b\n1,x\n2,é\n", "utf-16-le"),
    ],
)
def test_other_encodings_are_found_and_said(tmp_path: Path, text: str, codec: str) -> None:
    path = write(tmp_path / "other.csv", text.encode(codec))
    columns, _, _ = read(path)
    assert list(columns) == text.splitlines()[0].split(",")
    assert "is not UTF-8 and is read as" in doubts(path)


def test_a_late_byte_that_is_not_utf_8_is_read_and_said(tmp_path: Path) -> None:
    head = "".join(f"{row},plain\n" for row in range(60_000)).encode()
    path = write(tmp_path / "late.csv", b"a,b\n" + head + "1,café\n".encode("cp1252"))
    columns, _, _ = read(path)
    assert columns["b"][-1] == "café"
    assert "the text is UTF-8 but for 1 byte, read as Windows-1252" in doubts(path)


def test_a_byte_that_the_given_encoding_does_not_have_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "wrong.csv", "a,b\n1,café\n".encode("cp1252"))
    with pytest.raises(InvalidInput, match="is not text in utf-8: the bytes e9"):
        read(path, ReadingOptions("utf-8"))
    with pytest.raises(InvalidInput, match="there is no encoding 'klingon'"):
        read(path, ReadingOptions("klingon"))
    with pytest.raises(InvalidInput, match="a delimiter is one character"):
        read(path, ReadingOptions(delimiter=";;"))


def test_a_ragged_row_is_refused_by_its_number_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "ragged.csv", 'a,b\n1,2\n3\n\n"4\n4",5\n6,7,8\n9,10\n11\n')
    columns, numbers, refused = read(path)
    assert columns == {"a": ["1", "4\n4", "9"], "b": ["2", "5", "10"]}
    assert numbers == [1, 3, 5]
    assert [str(row) for row in refused] == [
        "row 2: 1 cell where there are 2 columns",
        "row 4: 3 cells where there are 2 columns",
        "row 6: 1 cell where there are 2 columns",
    ]


def test_a_quote_that_is_not_closed_is_an_error_that_says_where(tmp_path: Path) -> None:
    rows = "".join(f"{row},fine\n" for row in range(100))
    path = write(tmp_path / "quote.csv", f'a,b\n{rows}1,"open\n' + "x,y\n" * 400_000)
    with pytest.raises(InvalidInput, match="is a quote not closed"):
        read(path)


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("a, b ,a,,a\n1,2,3,4,5\n", ["a", "b", "a_2", "column4", "a_3"], "two columns are named `a`"),
        ("0.5,x\n1.5,y\n2.5,x\n", ["column1", "column2"], "looks like data"),
        ("red,S\nblue,M\nred,M\nblue,S\n", ["column1", "column2"], "looks like data"),
        (
            "country,1990,1991,1992\nA,1,2,3\nB,4,5,6\n",
            ["country", "1990", "1991", "1992"],
            "names the columns, though",
        ),
        ("name,colour\nanna,red\nben,blue\n", ["name", "colour"], ""),
        ("Report of May\n\na,b,c\n1,2,3\n4,5,6\n7,8,9\n", ["a", "b", "c"], "`Report of May`, stands before the table"),
        ("sep=;\na;b\n1;2\n", ["a", "b"], ""),
        ("a,b\nx,1,2\ny,3,4\n", ["row", "a", "b"], "a name too few"),
        ("a,b\n1,2,\n3,4,\n", ["a", "b", "column3"], "column 3 has no name"),
        ("word\nhello, world\nand more\n", ["word"], "the file has one column"),
        ("x y\n1 2\n3 4\n", ["x", "y"], "a space stands between cells"),
    ],
)
def test_the_columns_have_names_and_what_was_decided_is_said(
    tmp_path: Path, text: str, names: list[str], said: str
) -> None:
    path = write(tmp_path / "names.csv", text)
    assert list(read(path)[0]) == names
    assert said in doubts(path) if said else not doubts(path).replace("a semicolon stands", "")


def test_the_options_decide_against_what_a_file_looks_like(tmp_path: Path) -> None:
    path = write(tmp_path / "given.csv", "1,5;2\n2,5;3\n3,5;4\n")
    assert read(path, ReadingOptions(delimiter=",", has_header=True))[0] == {"1": ["2", "3"], "5;2": ["5;3", "5;4"]}
    assert list(read(path, ReadingOptions(has_header=False))[0]) == ["column1", "column2"]


def test_a_file_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    content = b"a,b\n1,2\n"
    packed = {"gz": gzip.compress(content), "bz2": bz2.compress(content), "xz": lzma.compress(content)}
    packed["zst"] = pa.compress(content, "zstd", asbytes=True)
    for name, each in packed.items():
        assert read(write(tmp_path / name, each))[0] == {"a": ["1"], "b": ["2"]}
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("inner.csv", content)
    assert read(tmp_path / "zip")[0] == {"a": ["1"], "b": ["2"]}
    with zipfile.ZipFile(tmp_path / "zip", "a") as archive:
        archive.writestr("xl/workbook.xml", "")
    with pytest.raises(InvalidInput, match="workbook of a spreadsheet; save its sheet as CSV"):
        read(tmp_path / "zip")
    with pytest.raises(InvalidInput, match="cannot be unpacked"):
        read(write(tmp_path / "torn", packed["gz"][:-9]))


def test_parquet_columns_keep_their_types(tmp_path: Path) -> None:
    moment = datetime(2020, 1, 2, 3, 4, 5)
    table = pa.table(
        {
            "whole": pa.array([1, None, 3], pa.int32()),
            "decimal": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
            "flag": [True, None, False],
            "moment": pa.array([moment, None, moment], pa.timestamp("ns")),
            "day": [date(2020, 1, 2), None, date(2020, 1, 3)],
            "word": pa.array(["a", None, "a"]).dictionary_encode(),
            "vector": [[1.0, 2.0], None, [3.0, 4.0]],
        }
    )
    parquet.write_table(table, tmp_path / "typed")
    columns, numbers, _ = read(tmp_path / "typed", ReadingOptions(block_rows=2))
    assert numbers == [1, 2, 3]
    assert columns == {**table.to_pydict(), "moment": [moment, None, moment]}


def test_the_fields_of_ndjson_may_come_and_go_and_bad_lines_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows", '{"a": 1}\n\nnot json\n[1]\n{"a": NaN, "late": "x"}\n')
    columns, numbers, refused = read(path, ReadingOptions(block_rows=1))
    assert numbers == [1, 4]
    assert columns["late"] == [None, "x"]
    assert [row.number for row in refused] == [2, 3]
    assert "this is not JSON" in refused[0].reason
    listed = write(tmp_path / "list", ' [{"a": 1},\n {"a": 2}, 3]')
    assert read(listed)[0] == {"a": [1, 2]}
    assert [row.number for row in read(listed)[2]] == [3]


def test_a_pipe_is_read_without_seeking(tmp_path: Path) -> None:
    program = (
        "import sys; from driftline.tables.reading import open_table\n"
        "with open_table('-') as table: print(table.columns, sum(len(block) for block in table.blocks()))"
    )
    parquet.write_table(pa.table({"a": list(range(5000))}), tmp_path / "p")
    rows = {"csv": b"a,b\n" + b"1,2\n" * 200_000, "json": b'{"a": 1}\n' * 3, "parquet": (tmp_path / "p").read_bytes()}
    shown = {}
    for name, content in rows.items():
        done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=True)
        shown[name] = done.stdout.decode().strip()
    assert shown == {"csv": "['a', 'b'] 200000", "json": "['a'] 3", "parquet": "['a'] 5000"}


def test_what_is_no_table_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.csv cannot be read: No such file"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(InvalidInput, match="is empty"):
        read(write(tmp_path / "empty.csv", ""))
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(write(tmp_path / "torn.parquet", b"PAR1 and no more"))
    with pytest.raises(InvalidInput, match=r"picture\.csv: this is neither text nor Parquet"):
        read(write(tmp_path / "picture.csv", b"\x89PNG\r\n" + bytes(range(256)) * 40))
    with pytest.raises(InvalidInput, match="has no row of named values"):
        read(write(tmp_path / "numbers.json", "[\n1, 2]"))
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_a_reader_that_is_left_ends_with_the_file(tmp_path: Path) -> None:
    """Its thread reads ahead: where Python ended before it, it would end the process by a signal."""
    (tmp_path / "long.csv").write_text("a,b\n" + "1,2\n" * 200_000)
    program = """
import sys, time
from driftline.tables import csv_file
from driftline.tables.reading import ReadingOptions, open_table

read = csv_file._Joined.readinto

def slowly(self, buffer):
    time.sleep(0.1)
    return read(self, buffer)

csv_file._Joined.readinto = slowly
try:
    with open_table("long.csv", ReadingOptions(block_rows=100)) as table:
        for block in table.blocks():
            raise ValueError("enough")
except ValueError:
    sys.exit(2)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")


def test_what_parses_has_let_go_of_all_that_is_python_s_once_a_table_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that lets go of it when Python has ended ends the process."""
    handlers: list[weakref.ref[Any]] = []
    whole = pyarrow_csv.ParseOptions

    def seen(**options: Any) -> pyarrow_csv.ParseOptions:
        handlers.append(weakref.ref(options["invalid_row_handler"]))
        return whole(**options)

    monkeypatch.setattr(pyarrow_csv, "ParseOptions", seen)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + 2000 * "1,2\n")
    for _ in range(10):
        with open_table(path, ReadingOptions(block_rows=100)) as table:
            next(table.blocks())
        assert handlers.pop()() is None

"""Files of rows and columns, well formed and not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.backtest.table import Table, read
from driftline.errors import ConfigurationError, InvalidInput
from tests.conftest import missing


def csv(folder: Path, text: str | bytes, limit: int | None = None, name: str = "t.csv") -> Table:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return read(folder / name, limit)


def plain(table: Table) -> dict[str, Any]:
    """The columns as lists."""
    return {
        name: column if isinstance(column, list) else [None if np.isnan(cell) else cell for cell in column.tolist()]
        for name, column in table.columns.items()
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_file_has_one_of_three_delimiters_and_quotes(tmp_path: Path, delimiter: str) -> None:
    rows = [['"a"', "b", "the label"], ["1", '"x,;\ty"', "yes"], [" 2.5 ", "z", '"no ""way"""']]
    table = csv(tmp_path, "\r\n".join(delimiter.join(row) for row in rows))
    assert plain(table) == {"a": [1.0, 2.5], "b": ["x,;\ty", "z"], "the label": ["yes", 'no "way"']}


def test_missing_cells_in_their_many_words(tmp_path: Path) -> None:
    table = csv(tmp_path, "a,b\n1,x\n,\nNA,?\nNaN,null\nn/a,None\n-2e3,true\n")
    assert plain(table) == {"a": [1, None, None, None, None, -2000], "b": ["x", None, None, None, None, "true"]}


def test_a_column_without_a_name_goes_by_its_number_and_a_mark_of_order_is_no_name(tmp_path: Path) -> None:
    assert list(csv(tmp_path, b"\xef\xbb\xbf,a\n0,1\n").columns) == ["column1", "a"]


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    assert plain(csv(tmp_path, "a,b\n1,2\n3,4\nbroken\n", limit=2)) == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv is empty"),
        ("\n", r"t\.csv is empty"),
        ("a,b\n", r"t\.csv has no row"),
        ("a,a\n1,2\n", "two columns are named 'a'"),
        ("a,b\n1,2\n\n3\n", "line 4: 1 cells where the header has 2"),
        (b"a,b\n\xff\xfe,1\n", "nor text in UTF-8"),
        ("a,b\n1," + "x" * 200_000, r"t\.csv is not CSV: field larger"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        csv(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"x\.csv cannot be read: No such file"):
        read(tmp_path / "x.csv")
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        read(tmp_path)


@pytest.fixture
def pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        missing("pyarrow")
    return pyarrow


def test_parquet_holds_the_same(tmp_path: Path, pyarrow: Any) -> None:
    from pyarrow import parquet

    columns = {
        "whole": [1, None, 3],
        "real": [0.5, float("nan"), None],
        "flag": [True, False, None],
        "text": pyarrow.array(["x", "", None]).dictionary_encode(),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet", row_group_size=2)
    expected: dict[str, list[Any]] = {
        "whole": [1, None, 3],
        "real": [0.5, None, None],
        "flag": ["true", "false", None],
        "text": ["x", None, None],
    }
    assert plain(read(tmp_path / "t.parquet")) == expected
    assert plain(read(tmp_path / "t.parquet", 1)) == {name: cells[:1] for name, cells in expected.items()}
    parquet.write_table(pyarrow.table({"rows": [[1, 2]]}), tmp_path / "t.parquet")
    with pytest.raises(InvalidInput, match="'rows' holds list"):
        read(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_text("no parquet")
    with pytest.raises(InvalidInput, match=r"t\.parquet is not Parquet"):
        read(tmp_path / "t.parquet")


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'driftline\[parquet\]'"):
        read(tmp_path / "t.parquet")

"""Tables from CSV and Parquet files, read into columns of numbers and of texts."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.errors import ConfigurationError, InvalidInput

DELIMITERS = ",;\t"
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
PARQUET = frozenset({".parquet", ".pq"})

Numbers = NDArray[np.float64]
Texts = list[str | None]
Column = Numbers | Texts
"""Float64 ``[rows]`` where every cell is a number or missing (NaN), else texts, where None is missing."""


@dataclass(frozen=True)
class Table:
    """The columns of a file by name, in its order."""

    path: Path
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))


def read(path: Path, limit: int | None = None) -> Table:
    """The first ``limit`` rows of a file, or all of them: Parquet by its suffix, all else CSV with a header.

    A CSV file has commas, semicolons or tabs between its cells, which may be quoted. An empty cell is missing, as are ``?``,
    ``NA``, ``N/A``, ``NaN``, ``null`` and ``none``.

    Raises:
        InvalidInput: it names the file, and the line where that is known.
        ConfigurationError: the file is Parquet, and pyarrow is not installed.
    """
    with _reading(path):
        columns = _parquet(path, limit) if path.suffix.lower() in PARQUET else _csv(path, limit)
    table = Table(path, columns)
    if not len(table):
        raise InvalidInput(f"{path} has no row", value=str(path))
    return table


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}", value=str(path)) from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is neither Parquet (by its name) nor text in UTF-8", value=str(path)) from None
    except csv.Error as error:
        raise InvalidInput(f"{path} is not CSV: {error}", value=str(path)) from None


def _csv(path: Path, limit: int | None) -> dict[str, Column]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        if not first.strip():
            raise InvalidInput(f"{path} is empty; its first line must name the columns", value=str(path))
        file.seek(0)
        reader = csv.reader(file, delimiter=max(DELIMITERS, key=first.count))
        names = _names(path, next(reader))
        rows = list(itertools.islice(_whole_rows(path, reader, len(names)), limit))
    return {name: _typed(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=False)}


def _names(path: Path, header: Sequence[str]) -> list[str]:
    """The names of the columns; one without a name, such as an index, is named by its number."""
    names = [name.strip() or f"column{number}" for number, name in enumerate(header, start=1)]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{path}: two columns are named {name!r}", field=name)
    return names


def _whole_rows(path: Path, reader: Any, width: int) -> Iterator[list[str]]:
    for row in reader:
        if not row:
            continue
        if len(row) != width:
            message = f"{path}, line {reader.line_num}: {len(row)} cells where the header has {width}"
            raise InvalidInput(message, value=len(row))
        yield row


def _typed(cells: Sequence[str]) -> Column:
    """Cells as numbers where all of them are numbers or missing, else as texts."""
    stripped = [cell.strip() for cell in cells]
    known = [None if cell.lower() in MISSING else cell for cell in stripped]
    try:
        return np.array([np.nan if cell is None else float(cell) for cell in known])
    except ValueError:
        return known


def _parquet(path: Path, limit: int | None) -> dict[str, Column]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigurationError(
            f"{path}: reading Parquet needs pyarrow; install it: pip install 'driftline[parquet]'", code="no_pyarrow"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            batches = file.iter_batches()
            tables = [pyarrow.Table.from_batches([batch]) for batch in _until(batches, limit)]
            table = pyarrow.concat_tables(tables) if tables else file.schema_arrow.empty_table()
    except pyarrow.ArrowInvalid as error:
        raise InvalidInput(f"{path} is not Parquet: {str(error).splitlines()[0]}", value=str(path)) from None
    table = table.slice(0, limit)
    names = _names(path, table.column_names)
    return {name: _plain(path, name, column) for name, column in zip(names, table.columns, strict=True)}


def _until(batches: Iterator[Any], limit: int | None) -> Iterator[Any]:
    """Batches until they have ``limit`` rows, or a few more."""
    count = 0
    for batch in batches:
        yield batch
        count += batch.num_rows
        if limit is not None and count >= limit:
            return


def _plain(path: Path, name: str, column: Any) -> Column:
    """A column of Parquet as a CSV file would have it: booleans are the texts ``true`` and ``false``."""
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    values = column.to_pylist()
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind):
        return np.array([np.nan if value is None else float(value) for value in values])
    if types.is_boolean(kind):
        return [None if value is None else str(value).lower() for value in values]
    if types.is_string(kind) or types.is_large_string(kind) or types.is_temporal(kind):
        return [None if value is None or not str(value).strip() else str(value) for value in values]
    raise InvalidInput(f"{path}: the column {name!r} holds {kind}, which is no number and no text", field=name)

"""A cell as the value of a field: what a request would send for it."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final, Generic, TypeVar

import numpy as np

from driftline.spec.parts.fields import (
    BooleanField,
    CategoryField,
    NumberField,
    RowField,
    TensorField,
    TextField,
    TimeField,
)
from driftline.tables.cells import BOOLEANS, Cell, is_missing, plain, shown
from driftline.tables.moments import as_datetime, read_moment
from driftline.tables.numbers import DecimalMark, Number, parse_number, plain_numbers

F = TypeVar("F", bound=RowField)

KEPT: Final = 1 << 14
LARGEST_INTEGER: Final = 2**63


class Unreadable(ValueError):
    """A cell that is no value of its field; the text is the reason."""


class CellReader(ABC, Generic[F]):
    """Reads the cells of one column as values of one field. Texts come again and again, so what they are is kept."""

    def __init__(self, field: F, decimal: DecimalMark = ".") -> None:
        self.field = field
        self.decimal = decimal
        self._known: dict[str, Any] = {}

    def __call__(self, cell: Cell) -> Any:
        """The value as JSON has it, None where it is missing.

        Raises:
            Unreadable: it is none.
        """
        if isinstance(cell, str):
            if cell in self._known:
                return self._known[cell]
            text = cell.strip()
            value = None if is_missing(text) else self.of_text(text)
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[cell] = value
            return value
        cell = plain(cell)
        if isinstance(cell, list):
            return self.of_list(cell)
        if isinstance(cell, dict):
            raise Unreadable(f"{shown(cell)} is an object")
        return None if is_missing(cell) else self.of_text(cell) if isinstance(cell, str) else self.of_typed(cell)

    def many(self, cells: Sequence[Cell]) -> tuple[list[Any], dict[int, str]]:
        """The values of cells, and by its place why one is none (its value is None)."""
        values, reasons = [], {}
        for place, cell in enumerate(cells):
            try:
                values.append(self(cell))
            except Unreadable as error:
                values.append(None)
                reasons[place] = str(error)
        return values, reasons

    @abstractmethod
    def of_text(self, text: str) -> Any:
        """The value that a text stands for, which is not missing, and has no spaces around it."""

    @abstractmethod
    def of_typed(self, cell: Any) -> Any:
        """The value that a boolean, number, date or moment stands for."""

    def of_list(self, cell: list[Any]) -> Any:
        raise Unreadable(f"{shown(cell)} is a list")


class NumberReader(CellReader[NumberField]):
    """Numbers as people write them, with the column's mark of decimals."""

    def many(self, cells: Sequence[Cell]) -> tuple[list[Any], dict[int, str]]:
        if set(map(type, cells)) <= {int, float, type(None)}:
            known = [None if cell is None or cell != cell else cell for cell in cells]
            if all(value is None or abs(value) < LARGEST_INTEGER for value in known):
                return known, {}
        values = plain_numbers(cells, self.decimal)
        return (values, {}) if values is not None else super().many(cells)

    def of_text(self, text: str) -> Number:
        value = parse_number(text, self.decimal)
        if value is not None:
            return value
        other = parse_number(text, "," if self.decimal == "." else ".")
        if other is not None:
            mark = "point" if self.decimal == "." else "comma"
            raise Unreadable(f"{shown(text)} is not a number in a column whose decimals stand after a {mark}")
        raise Unreadable(f"{shown(text)} is not a number")

    def of_typed(self, cell: Any) -> Number:
        if isinstance(cell, bool):
            return int(cell)
        if isinstance(cell, int):
            return cell if -LARGEST_INTEGER <= cell < LARGEST_INTEGER else float(cell)
        if isinstance(cell, float) and math.isfinite(cell):
            return cell
        raise Unreadable(f"{shown(cell)} is not a {'finite ' * isinstance(cell, float)}number")


class BooleanReader(CellReader[BooleanField]):
    """Yes and no, in any case."""

    def of_text(self, text: str) -> bool:
        value = BOOLEANS.get(text.casefold())
        if value is None:
            raise Unreadable(f"{shown(text)} is neither yes nor no")
        return value

    def of_typed(self, cell: Any) -> bool:
        if cell in (0, 1):
            return bool(cell)
        raise Unreadable(f"{shown(cell)} is neither yes nor no")


class CategoryReader(CellReader[CategoryField]):
    """Values as they are spelled."""

    def of_text(self, text: str) -> str:
        return text

    def of_typed(self, cell: Any) -> str | int | bool:
        if isinstance(cell, bool | int):
            return cell
        if isinstance(cell, float):
            return int(cell) if cell.is_integer() else repr(cell)
        return _written(cell)


class TextReader(CellReader[TextField]):
    """Words as they stand."""

    def of_text(self, text: str) -> str:
        return text

    def of_typed(self, cell: Any) -> str:
        return _written(cell)


class TimeReader(CellReader[TimeField]):
    """Moments: a text in the field's format stays as it is, others become ISO 8601; numbers since 1970 stay numbers."""

    def of_text(self, text: str) -> str | Number:
        layout = self.field.format
        if as_datetime(text, layout) is not None:
            return text if layout is not None or _is_written_iso(text) else self._iso(text)
        number = parse_number(text, ".") if layout is None else None
        if number is not None and read_moment(number, None, self.field.unit) is not None:
            return number
        written = f"written as {layout}" if layout is not None else "by ISO 8601, nor a number since 1970"
        raise Unreadable(f"{shown(text)} is no time {written}")

    def _iso(self, text: str) -> str:
        moment = as_datetime(text)
        assert moment is not None
        return moment.isoformat()

    def of_typed(self, cell: Any) -> str | Number:
        layout = self.field.format
        if isinstance(cell, datetime | date):
            moment = as_datetime(cell)
            assert moment is not None
            if layout is None:
                return moment.isoformat()
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).strftime(layout)
        if isinstance(cell, bool) or not isinstance(cell, int | float) or not math.isfinite(cell):
            raise Unreadable(f"{shown(cell)} is no time")
        # A date as a number, 20200131, is one that the format reads.
        return self.of_text(str(cell)) if layout is not None else cell


class SecondsReader(TimeReader):
    """Moments as seconds since 1970."""

    def of_text(self, text: str) -> Number:
        return self._seconds(super().of_text(text))

    def of_typed(self, cell: Any) -> Number:
        return self._seconds(super().of_typed(cell))

    def _seconds(self, value: str | Number) -> Number:
        seconds = read_moment(value, self.field.format, self.field.unit)
        if seconds is None:
            raise Unreadable(f"{shown(value)} is no time")
        return seconds


class TensorReader(CellReader[TensorField]):
    """Nested lists of the field's shape, or their JSON."""

    def of_text(self, text: str) -> Any:
        try:
            return self.of_list(json.loads(text))
        except json.JSONDecodeError:
            raise Unreadable(f"{shown(text)} is no list of numbers") from None

    def of_typed(self, cell: Any) -> Any:
        return self.of_list(cell)

    def of_list(self, cell: Any) -> Any:
        try:
            array = np.asarray(cell, dtype=np.float32)
        except (TypeError, ValueError):
            raise Unreadable(f"{shown(cell)} is no list of numbers") from None
        if list(array.shape) != self.field.shape:
            raise Unreadable(f"it has the shape {list(array.shape)}, and not {self.field.shape}")
        if not np.isfinite(array).all():
            raise Unreadable("a number in it is missing or not finite")
        return cell


READERS: Final[dict[type[RowField], Callable[[Any, DecimalMark], CellReader[Any]]]] = {
    NumberField: NumberReader,
    BooleanField: BooleanReader,
    CategoryField: CategoryReader,
    TextField: TextReader,
    TimeField: TimeReader,
    TensorField: TensorReader,
}


def reader_of(field: RowField, decimal: DecimalMark = ".") -> CellReader[Any]:
    """What reads the cells of a column as values of ``field``; :class:`LookupError` where nothing does."""
    return READERS[type(field)](field, decimal)


def _is_written_iso(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _written(cell: Any) -> str:
    """A typed cell as text."""
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, bytes):
        raise Unreadable("it is bytes, and no text in UTF-8")
    return str(cell).lower() if isinstance(cell, bool) else str(cell)

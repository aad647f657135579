"""A cell as a label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from driftline.errors import InvalidInput
from driftline.records import Label
from driftline.spec.model import ModelSpec
from driftline.spec.parts.fields import NumberField
from driftline.tables.cells import Cell, is_missing, plain, shown
from driftline.tables.class_lists import SEPARATORS, json_list, parts_of
from driftline.tables.fields import NumberReader, Unreadable
from driftline.tables.numbers import DecimalMark
from driftline.tables.target_columns import of_one_output


class LabelReader(ABC):
    """Reads the cells of a target as labels."""

    @abstractmethod
    def __call__(self, cell: Cell) -> Label | None:
        """The label, None where it is missing; :class:`Unreadable` where it is none."""

    def many(self, cells: Sequence[Cell]) -> tuple[list[Label | None], dict[int, str]]:
        """The labels of cells, and by its place why one is none (it is None)."""
        labels: list[Label | None] = []
        reasons = {}
        for place, cell in enumerate(cells):
            try:
                labels.append(self(cell))
            except Unreadable as error:
                labels.append(None)
                reasons[place] = str(error)
        return labels, reasons


def label_reader(spec: ModelSpec, decimal: DecimalMark, is_typed: bool) -> LabelReader:
    """What reads the cells of a target as labels of ``spec``, of several outputs each of them.

    ``is_typed``: a text is a text, as in Parquet; in CSV it may be how an integer is written.
    """
    if spec.kind.is_multilabel:
        return _ClassLists(spec.known_classes())
    if not spec.kind.has_classes:
        return _Quantities(of_one_output(spec), decimal)
    return _OpenClasses(is_typed) if spec.classes == "open" else _ListedClasses(spec.known_classes())


class _Quantities(LabelReader):
    def __init__(self, spec: ModelSpec, decimal: DecimalMark) -> None:
        self._spec = spec
        self._read = NumberReader(NumberField(), decimal)

    def __call__(self, cell: Cell) -> Label | None:
        value = self._read(cell)
        if value is None:
            return None
        try:
            return self._spec.check_label(value)
        except InvalidInput as error:
            raise Unreadable(error.message) from None


class _ListedClasses(LabelReader):
    """Classes by how they are written: exactly, else in any case, else as the number that they are."""

    def __init__(self, classes: Sequence[int | str]) -> None:
        folded = Counter(str(name).strip().casefold() for name in classes)
        self._exact = {str(name): name for name in classes}
        self._folded = {key: name for name in classes if folded[key := str(name).strip().casefold()] == 1}

    def __call__(self, cell: Cell) -> Label | None:
        cell = plain(cell)
        text = str(cell).strip()
        if text in self._exact:
            return self._exact[text]
        found = self._folded.get(text.casefold())
        if found is None and isinstance(cell, bool):
            found = self._exact.get(str(int(cell)))
        if found is None:
            found = self._exact.get(str(whole_number(cell)))
        # A class may be called `none`.
        if found is None and not is_missing(cell):
            raise Unreadable(f"{shown(cell)} is none of the model's classes")
        return found


class _ClassLists(LabelReader):
    """Lists of classes, each written as by itself: a list, its JSON, or a text with ``|``, ``;`` or ``,`` between them."""

    def __init__(self, classes: Sequence[int | str]) -> None:
        self._read = _ListedClasses(classes)

    def __call__(self, cell: Cell) -> Label | None:
        cells = self._cells(plain(cell))
        if cells is None:
            return None
        label: list[int | str | float] = []
        for each in cells:
            name = self._read(each)
            if not isinstance(name, int | str):
                raise Unreadable(f"{shown(cell)}: {shown(each)} is none of the model's classes")
            if (type(name), name) in ((type(known), known) for known in label):
                raise Unreadable(f"{shown(cell)} names {shown(name)} twice")
            label.append(name)
        return label

    def _cells(self, cell: Cell) -> list[Cell] | None:
        if isinstance(cell, list | tuple):
            return list(cell)
        if isinstance(cell, str) and cell.strip().startswith("["):
            found = json_list(cell)
            if found is None:
                raise Unreadable(f"{shown(cell)} is no list of classes")
            return found
        if is_missing(cell):
            return None
        return self._parts(cell) if isinstance(cell, str) else [cell]

    def _parts(self, text: str) -> list[Cell]:
        """The parts between the marks of which all are classes; a class may have a mark in its name."""
        readings: list[list[Cell]] = [
            [text.strip()],
            *(list(parts_of(text, mark)) for mark in SEPARATORS if mark in text),
        ]
        return next((parts for parts in readings if self._are_classes(parts)), readings[-1])

    def _are_classes(self, parts: Sequence[Cell]) -> bool:
        try:
            return all(self._read(part) is not None for part in parts)
        except Unreadable:
            return False


def whole_number(cell: Cell) -> int | None:
    """A number without a fraction, also one that is written with one: ``1.0``."""
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None


class _OpenClasses(LabelReader):
    """Classes as they are named; in a file without types what is written as an integer is one."""

    def __init__(self, is_typed: bool) -> None:
        self._is_typed = is_typed

    def __call__(self, cell: Cell) -> Label | None:
        cell = plain(cell)
        if is_missing(cell):
            return None
        if isinstance(cell, str):
            text = cell.strip()
            return int(text) if not self._is_typed and is_integer(text) else text
        if isinstance(cell, bool):
            return str(cell).lower()
        if isinstance(cell, int):
            return cell
        if isinstance(cell, float) and cell.is_integer():
            return int(cell)
        raise Unreadable(f"{shown(cell)} is no class, which is a text or an integer")


def is_integer(text: str) -> bool:
    """Whether a text is how an integer is written: ``007`` is a text.

    >>> [is_integer(text) for text in ("7", "-7", "007", "7.0", "0")]
    [True, True, False, False, True]
    """
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and (digits == "0" or digits[0] != "0") and len(digits) < 19

"""What the cells of a column are, counted while a file is read once; memory is bounded by the number of values kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final, TypeAlias

import pyarrow as pa
from pyarrow import compute

from driftline.tables.cells import Cell, is_missing, is_moment, plain
from driftline.tables.moments import formats_of, is_iso
from driftline.tables.numbers import DecimalEvidence, plain_numbers, read_number

KEPT_VALUES: Final = 20_000
KEPT_TEXT: Final = 200
"""Characters of a value that are kept: two longer ones that begin alike count as one."""
TRIES: Final = 20
"""Texts that are looked at for a format of dates before a column is taken to hold none."""

COUNTED_TYPES: Final = frozenset({bool, Decimal, date, datetime, time, timedelta})
"""Types of cells, besides numbers and texts, of which equal ones are counted together."""


@dataclass
class Seen:
    """How often a value was seen, and the number of the row where it was first."""

    count: int
    row: int


Values: TypeAlias = dict[Cell, Seen]


class ColumnProfile:
    """Counts of one column. ``numbers`` and ``words`` hold the first values that were seen, ``limit`` of each at most."""

    def __init__(self, name: str, limit: int = KEPT_VALUES) -> None:
        self.name = name
        self.limit = limit
        self.rows = 0
        self.missing = 0
        self.missing_words: Values = {}
        self.numbers: Values = {}
        self.number_cells = 0
        self.words: Values = {}
        self.word_cells = 0
        self.characters = 0
        self.parts = 0
        self.longest = 0
        self.styles: dict[str, Seen] = {}
        self.style_examples: dict[str, str] = {}
        self.padded: Values = {}
        self.decimal_counts: Counter[str] = Counter()
        self.either_example: str | None = None
        self.iso_cells = 0
        self.date_cells = 0
        self.formats: list[str] = []
        self._tries = 0
        self.booleans: Values = {}
        self.moments: Values = {}
        self.shapes: Counter[tuple[int, ...] | None] = Counter()
        self.elements: Values = {}
        self.list_cells = self.class_list_cells = 0
        self.objects: Values = {}
        self.is_full = False
        self.ascends = self.counts_up = True
        self._last: int | None = None

    @property
    def present(self) -> int:
        """Cells that are not missing."""
        return self.rows - self.missing

    @property
    def values(self) -> Values:
        """All values that were kept, in no order of the file."""
        return {**self.booleans, **self.moments, **self.numbers, **self.words}

    @property
    def distinct(self) -> int:
        """Different values; at least so many where the profile is full."""
        return len(self.numbers) + len(self.words) + len(self.booleans) + len(self.moments)

    @property
    def is_unique(self) -> bool:
        """Whether nothing came twice, of what was kept, and nothing is missing."""
        return not self.missing and all(seen.count == 1 for seen in self.values.values())

    @property
    def decimals(self) -> DecimalEvidence:
        counts = self.decimal_counts
        return DecimalEvidence(counts["."], counts[","], counts["either"], self.either_example)

    def skip(self, rows: int) -> None:
        """Counts rows in which the column is missing because it came up later."""
        self.rows += rows
        self.missing += rows

    def add(self, cells: Sequence[Cell], numbers: Sequence[int]) -> None:
        """Counts the cells of some rows, and remembers in which row (of ``numbers``) each value was first."""
        self.rows += len(cells)
        if self.is_full and self._are_plain_numbers(cells):
            return
        texts = [cell for cell in cells if isinstance(cell, str)]
        if len(texts) == len(cells):
            self._add_texts(texts, numbers)
            self._note_steps(texts)
            return
        places = [number for cell, number in zip(cells, numbers, strict=True) if isinstance(cell, str)]
        self._add_texts(texts, places)
        typed = [(cell, number) for cell, number in zip(cells, numbers, strict=True) if not isinstance(cell, str)]
        kinds = {type(cell) for cell, _ in typed} - {type(None)}
        if kinds <= {int, float}:
            self._add_quantities(typed)
        elif len(kinds) == 1 and kinds <= COUNTED_TYPES:
            rows = dict(reversed(typed))
            for cell, count in Counter(cell for cell, _ in typed).items():
                self._add_typed(plain(cell), count, rows[cell])
        else:
            for cell, number in typed:
                self._add_typed(plain(cell), 1, number)
        self._note_steps([] if texts else [cell for cell, _ in typed])

    def _are_plain_numbers(self, cells: Sequence[Cell]) -> bool:
        """Counts cells that are numbers or nothing all at once: no new value of theirs would be kept."""
        try:
            column = pa.array(cells, pa.string())
            known = compute.if_else(compute.equal(compute.utf8_trim_whitespace(column), ""), None, column)
            numbers = compute.cast(known, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return False
        if compute.any(compute.invert(compute.is_finite(numbers))).as_py():
            return False
        missing = numbers.null_count
        self.missing += missing
        self.number_cells += len(cells) - missing
        self._note_steps(cells)
        return True

    def _add_texts(self, texts: Sequence[str], numbers: Sequence[int]) -> None:
        rows = dict(zip(reversed(texts), reversed(numbers), strict=True))
        counts = Counter(texts)
        if plain_numbers(list(counts)) is not None:
            self._add_plain(counts, rows)
            return
        for text, count in counts.items():
            self._add_text(text.strip(), count, rows[text])

    def _add_plain(self, counts: Counter[str], rows: dict[str, int]) -> None:
        """Counts texts that are numbers without anything around them, or empty."""
        for text, count in counts.items():
            if not text:
                self.missing += count
                continue
            _, point, fraction = text.partition(".")
            if len(fraction) == 3 or (text[0] == "0" and not point):
                # A point that might part thousands; zeros at the front.
                self._add_text(text, count, rows[text])
                continue
            self.number_cells += count
            self.decimal_counts["."] += count if point else 0
            self._keep(self.numbers, text, count, rows[text])

    def _add_text(self, text: str, count: int, row: int) -> None:
        if is_missing(text):
            self.missing += count
            if text:
                self._keep(self.missing_words, text, count, row)
            return
        found = read_number(text)
        if found.is_number:
            self.number_cells += count
            self._keep(self.numbers, text, count, row)
            if found.evidence is not None:
                self.decimal_counts[found.evidence] += count
                if found.evidence == "either" and ("," in text or self.either_example is None):
                    self.either_example = text
            if found.how is not None:
                self._keep(self.styles, found.how, count, row)
                self.style_examples.setdefault(found.how, text)
            elif text[0] == "0" and text.isdecimal() and len(text) > 1:
                self._keep(self.padded, text, count, row)
            return
        self.word_cells += count
        self._keep(self.words, text[:KEPT_TEXT], count, row)
        self.characters += count * len(text)
        self.parts += count * len(text.split())
        self.longest = max(self.longest, len(text))
        self._note_date(text, count)

    def _note_date(self, text: str, count: int) -> None:
        if is_iso(text):
            self.iso_cells += count
        elif not self.formats and self._tries < TRIES:
            self._tries += 1
            self.formats = formats_of(text)
            self.date_cells += count if self.formats else 0
        elif self.formats and (fitting := formats_of(text, self.formats)):
            self.formats = fitting
            self.date_cells += count

    def _add_quantities(self, typed: Sequence[tuple[Cell, int]]) -> None:
        """Counts integers, floats and None."""
        known = [(cell, number) for cell, number in typed if cell is not None and cell == cell]
        self.missing += len(typed) - len(known)
        self.number_cells += len(known)
        if self.is_full:
            return
        rows = dict(reversed(known))
        for cell, count in Counter(cell for cell, _ in known).items():
            self._keep(self.numbers, cell, count, rows[cell])

    def _add_typed(self, cell: Cell, count: int, row: int) -> None:
        if isinstance(cell, list):
            self.shapes[_shape(cell)] += count
            self._add_list(cell, count, row)
        elif isinstance(cell, dict | bytes):
            self._keep(self.objects, type(cell).__name__, count, row)
        elif is_missing(cell):
            self.missing += count
        elif isinstance(cell, bool):
            # A dictionary takes 1 and True for the same.
            self._keep(self.booleans, str(cell).lower(), count, row)
        elif is_moment(cell):
            self._keep(self.moments, cell, count, row)
        elif isinstance(cell, str):
            self._add_text(cell.strip(), count, row)
        else:
            self.number_cells += count
            self._keep(self.numbers, cell, count, row)

    def _add_list(self, cell: Sequence[Cell], count: int, row: int) -> None:
        """Counts the elements of a list, where all of them can be classes: texts and integers."""
        self.list_cells += count
        parts = [plain(part) for part in cell]
        if all(isinstance(part, str | int) and not isinstance(part, bool) for part in parts):
            self.class_list_cells += count
            for part in dict.fromkeys(parts):
                self._keep(self.elements, part, count, row)

    def _keep(self, values: dict[Cell, Seen] | dict[str, Seen], key: Cell, count: int, row: int) -> None:
        seen = values.get(key)
        if seen is not None:
            seen.count += count
        elif len(values) < self.limit:
            values[key] = Seen(count, row)
        else:
            self.is_full = True

    def _note_steps(self, cells: Iterable[Cell]) -> None:
        """Whether each row has a larger integer than the row before, and whether it is the one after that."""
        if not self.ascends:
            return
        try:
            integers = [int(cell) for cell in cells]
        except (TypeError, ValueError, OverflowError):
            integers = []
        before = [] if self._last is None else [self._last]
        steps = [later - earlier for earlier, later in pairwise(before + integers)]
        self.ascends = bool(integers) and all(step > 0 for step in steps)
        self.counts_up = self.ascends and self.counts_up and all(step == 1 for step in steps)
        self._last = integers[-1] if integers else None


def _shape(cell: Cell) -> tuple[int, ...] | None:
    """The shape of nested lists of numbers; None where they are uneven, empty, or hold something else."""
    if not isinstance(cell, list):
        return () if isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell else None
    shapes = {_shape(each) for each in cell}
    inner = shapes.pop() if len(shapes) == 1 else None
    return None if inner is None else (len(cell), *inner)


class Sample:
    """Rows from all over a file, ``size`` of them at most: every one, then every second, every fourth, …"""

    def __init__(self, size: int) -> None:
        self.size = size
        self.stride = 1
        self.numbers: list[int] = []
        self.columns: dict[str, list[Cell]] = {}

    def add(self, numbers: Sequence[int], columns: dict[str, list[Cell]]) -> None:
        for name in columns:
            self.columns.setdefault(name, [None] * len(self.numbers))
        places = [place for place, number in enumerate(numbers) if number % self.stride == 0]
        for name, cells in self.columns.items():
            found = columns.get(name)
            cells.extend([None] * len(places) if found is None else [found[place] for place in places])
        self.numbers.extend(numbers[place] for place in places)
        while len(self.numbers) > self.size:
            self.stride *= 2
            kept = [place for place, number in enumerate(self.numbers) if number % self.stride == 0]
            self.columns = {name: [cells[place] for place in kept] for name, cells in self.columns.items()}
            self.numbers = [self.numbers[place] for place in kept]

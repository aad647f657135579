"""How a text is a table: what stands between its cells, and which line names the columns."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from driftline.errors import InvalidInput
from driftline.tables.cells import is_missing, shown
from driftline.tables.doubt import Doubt
from driftline.tables.moments import is_iso
from driftline.tables.numbers import read_number

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|"}
MAX_ROWS: Final = 300
MAX_NAME: Final = 200
NEITHER: Final = "\x1f"
"""Stands between no cells: the separator of a table of one column."""


@dataclass(frozen=True)
class Dialect:
    """``names`` are those of the columns; the first row of data begins ``data_at`` characters into the text."""

    delimiter: str
    names: list[str]
    has_header: bool
    data_at: int
    doubts: list[Doubt]


@dataclass(frozen=True)
class _Rows:
    """The first rows of a text, and where each begins; ``ends`` has the end of the last as well."""

    cells: list[list[str]]
    ends: list[int]

    @property
    def width(self) -> int:
        """Cells of most rows; of the first one where a tenth have as many."""
        counts = Counter(map(len, self.cells))
        first = len(self.cells[0])
        return first if counts[first] - 1 >= len(self.cells) / 10 else max(counts, key=lambda width: counts[width])


def sniff(text: str, is_whole: bool, delimiter: str | None, has_header: bool | None) -> Dialect:
    """The dialect of a table that begins with ``text``, and what is in doubt about it.

    Raises:
        InvalidInput: the delimiter is more than one character, or there is no row.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        message = f"a delimiter is one character, and neither a quote nor the end of a line, not {delimiter!r}"
        raise InvalidInput(message, field="delimiter", value=delimiter)
    start = 0
    if text[:4].lower() == "sep=" and text[4:5] and text[5:6] in "\r\n":
        delimiter, start = delimiter or text[4], len(text.splitlines(keepends=True)[0])
    doubts: list[Doubt] = []
    if delimiter is None:
        delimiter = _delimiter(text[start:], is_whole, doubts)
    rows = _rows(text, start, is_whole, delimiter)
    if not rows.cells:
        raise InvalidInput("there is no row", value=text[:40])
    skipped = _preamble(rows, doubts)
    rows = _Rows(rows.cells[skipped:], rows.ends[skipped:])
    header, below = rows.cells[0], rows.cells[1:]
    is_header = _has_header(header, below, doubts) if has_header is None else has_header
    widths = Counter(map(len, below)) or Counter([len(header)])
    width = rows.width if is_header else max(widths, key=lambda each: widths[each])
    names = _names(header, below, width, doubts) if is_header else [f"column{place}" for place in range(1, width + 1)]
    return Dialect(delimiter, names, is_header, rows.ends[int(is_header)], doubts)


def _rows(text: str, start: int, is_whole: bool, delimiter: str) -> _Rows:
    ends, cells = [start], []
    position = start

    def lines() -> Iterator[str]:
        nonlocal position
        for line in io.StringIO(text[start:], newline=""):
            position += len(line)
            yield line

    try:
        for row in csv.reader(lines(), delimiter=delimiter):
            if row:
                cells.append(row)
                ends.append(position)
            else:
                ends[-1] = position
            if len(cells) > MAX_ROWS:
                break
    except csv.Error:
        # A cell too long for it, as after a quote that is not closed: the rows before it tell enough.
        pass
    if len(cells) > 1 and not is_whole and position == len(text):
        # The head may end within a row.
        cells.pop()
        ends.pop()
    return _Rows(cells, ends)


def _delimiter(text: str, is_whole: bool, doubts: list[Doubt]) -> str:
    scores = {each: _score(_rows(text, 0, is_whole, each), each) for each in DELIMITERS}
    best = max(scores, key=lambda each: scores[each])
    if not scores[best]:
        if _are_spaced(_rows(text, 0, is_whole, " ")):
            doubts.append(Doubt("a space stands between cells", option="--delimiter"))
            return " "
        delimiter = next((each for each in DELIMITERS if each not in text), NEITHER)
        doubts.append(Doubt("the file has one column: no comma, semicolon, tab or | parts it", option="--delimiter"))
        return delimiter
    rivals = [DELIMITERS[each] for each in scores if each != best and scores[each] > 0.7 * scores[best]]
    text = f"a {DELIMITERS[best]} stands between cells"
    if rivals:
        doubts.append(Doubt(f"{text}; it might be a {' or '.join(rivals)}", option="--delimiter"))
    elif best != ",":
        doubts.append(Doubt(text, option="--delimiter"))
    return best


def _score(rows: _Rows, delimiter: str) -> float:
    """How even the rows are, how many cells they have, and how few cells hold what might part them further."""
    if not rows.cells:
        return 0.0
    width = rows.width
    if width < 2:
        return 0.0
    even = sum(len(row) == width for row in rows.cells) / len(rows.cells)
    others = [each for each in DELIMITERS if each != delimiter]
    cells = [cell for row in rows.cells[:100] for cell in row]
    clean = sum(not any(each in cell for each in others) or read_number(cell.strip()).is_number for cell in cells)
    return even**2 * math.log(width) * (clean / len(cells)) ** 2


def _are_spaced(rows: _Rows) -> bool:
    """Whether a space parts numbers: all rows have as many, and most cells are some."""
    body = [cell for row in rows.cells[1:] for cell in row]
    even = len({len(row) for row in rows.cells}) == 1 and len(rows.cells[0]) > 1
    return even and bool(body) and sum(map(_is_data, body)) >= 0.8 * len(body)


def _preamble(rows: _Rows, doubts: list[Doubt]) -> int:
    """How many lines stand before the table: those at the top that have fewer cells than nearly all rows."""
    width = rows.width
    skipped = 0
    while skipped < min(20, len(rows.cells) - 2):
        cells = rows.cells[skipped]
        if len(cells) >= width - 1 and len(cells) > 1:
            break
        if len(cells) == width:
            break
        skipped += 1
    else:
        skipped = 0
    if skipped:
        first = shown(" ".join(rows.cells[0]))
        doubts.append(
            Doubt(f"the first {skipped} lines, such as {first}, stand before the table and are left out")
            if skipped > 1
            else Doubt(f"the first line, {first}, stands before the table and is left out")
        )
    return skipped


def _has_header(first: Sequence[str], below: Sequence[Sequence[str]], doubts: list[Doubt]) -> bool:
    """Whether the first row names the columns: it does not where its cells are such as stand below them."""
    if not below or not any(cell.strip() for cell in first):
        return True
    counted = _are_counted(first)
    alike = unlike = repeated = 0
    for place, cell in enumerate(first):
        others = [row[place] for row in below if place < len(row) and not is_missing(row[place])]
        if not others or is_missing(cell):
            continue
        is_data = _is_data(cell)
        if sum(map(_is_data, others)) >= 0.8 * len(others):
            is_data = _is_data(cell) and not counted
            alike, unlike = alike + is_data, unlike + (not is_data)
        repeated += cell in others
    if alike > unlike or (not alike and not unlike and repeated > len(first) / 2):
        text = f"the first line, {shown(' '.join(first))}, looks like data: columns are named column1, column2, …"
        doubts.append(Doubt(text, option="--header"))
        return False
    if alike or counted:
        text = "the first line names the columns, though some of its cells look like data"
        doubts.append(Doubt(text, option="--no-header"))
    return True


def _are_counted(first: Sequence[str]) -> bool:
    """Whether numbers in a first row are names: 0, 1, 2, … as pandas gives them, or the years of a wide table."""
    numbers = [int(cell) for cell in first if cell.strip().isdecimal() and len(cell) < 9]
    steps = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    others = len(first) - len(numbers)
    return steps and (numbers[0] == 0 or (1000 < numbers[0] < 3000 and others > 0))


def _is_data(cell: str) -> bool:
    cell = cell.strip()
    return read_number(cell).is_number or is_iso(cell)


def _names(header: Sequence[str], below: Sequence[Sequence[str]], width: int, doubts: list[Doubt]) -> list[str]:
    """The names in a header, as many as rows have cells."""
    header = list(header)
    usual = Counter(map(len, below)).most_common(1)
    if usual and usual[0][0] != len(header):
        width = usual[0][0]
        if len(header) == width + 1 and not header[-1].strip():
            header.pop()
        elif len(header) == width - 1:
            rows = [row for row in below if len(row) == width]
            if all(not row[-1].strip() for row in rows):
                header.append("")
            else:
                header.insert(0, "row")
                doubts.append(Doubt("the header has a name too few; the first column, of row names, is called `row`"))
    return unique_names(header, doubts)


def unique_names(header: Sequence[str], doubts: list[Doubt]) -> list[str]:
    """Names without the spaces around them: one that is empty, taken or too long gets another, and that is said."""
    names: list[str] = []
    taken = {name.strip() for name in header}
    for place, given in enumerate(header, start=1):
        name = given.strip()[:MAX_NAME]
        if not name:
            name = _free(f"column{place}", taken | set(names))
            doubts.append(Doubt(f"column {place} has no name and is called `{name}`"))
        elif name in names:
            name = _free(f"{name[: MAX_NAME - 6]}_2", taken | set(names))
            doubts.append(Doubt(f"two columns are named `{given.strip()}`; column {place} is called `{name}`"))
        elif len(given.strip()) > MAX_NAME:
            doubts.append(Doubt(f"the name of column {place} is longer than {MAX_NAME} characters and is cut"))
        names.append(name)
    return names


def _free(name: str, taken: set[str]) -> str:
    stem, number = (name[:-2], 2) if name.endswith("_2") else (name, 1)
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    return name

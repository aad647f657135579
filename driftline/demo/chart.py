"""A line chart of braille dots for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

BLANK = 0x2800
# Dot bits of a braille cell, by row and column.
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


@dataclass
class Canvas:
    """``rows`` × ``columns`` character cells, each of 4 × 2 dots. Dot (0, 0) is at the top left."""

    rows: int
    columns: int
    _cells: dict[tuple[int, int], int] = field(default_factory=dict)

    def dot(self, x: int, y: int) -> None:
        """Set one dot; a dot outside of the canvas is ignored."""
        if 0 <= x < 2 * self.columns and 0 <= y < 4 * self.rows:
            cell = y // 4, x // 2
            self._cells[cell] = self._cells.get(cell, 0) | BITS[y % 4][x % 2]

    def line(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Set the dots from ``start`` to ``end``."""
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(steps + 1):
            share = step / steps
            self.dot(round(start[0] + share * (end[0] - start[0])), round(start[1] + share * (end[1] - start[1])))

    def text(self, row: int) -> str:
        """One row as characters; a cell without dots is blank."""
        cells = (self._cells.get((row, column), 0) for column in range(self.columns))
        return "".join(chr(BLANK + cell) if cell else " " for cell in cells)


def draw(
    points: Sequence[tuple[float, float]], marks: Iterable[float], end: float, rows: int, columns: int
) -> list[tuple[str, str]]:
    """A line through ``points`` (x from 0 to ``end``, y from 0 to 1), with upright ``marks``.

    Returns each row as its label and its characters.
    """
    canvas = Canvas(rows, columns)
    width, height = 2 * columns - 1, 4 * rows - 1

    def place(x: float, y: float) -> tuple[int, int]:
        return round(min(x / end, 1.0) * width), round((1.0 - y) * height)

    for mark in marks:
        for y in range(0, height + 1, 3):
            canvas.dot(place(mark, 0)[0], y)
    for start, stop in pairwise(points):
        canvas.line(place(*start), place(*stop))
    labels = {0: "100%", (rows - 1) // 2: " 50%", rows - 1: "  0%"}
    return [(labels.get(row, "    "), canvas.text(row)) for row in range(rows)]

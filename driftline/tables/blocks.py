"""Rows in blocks: what every kind of file is read as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from driftline.tables.cells import Cell
from driftline.tables.doubt import Doubt

SHOWN_ROW = 200


@dataclass(frozen=True)
class RefusedRow:
    """A row that is not read. ``number`` is its place in the file, from 1; ``field`` is None where the whole row is wrong."""

    number: int
    field: str | None
    value: Cell
    reason: str

    def __str__(self) -> str:
        return f"row {self.number:,}: {f'{self.field}: ' if self.field else ''}{self.reason}"


@dataclass
class RowBlock:
    """Some rows of a file: ``numbers`` are their places in it, from 1, and ``columns`` their cells by name."""

    numbers: list[int]
    columns: dict[str, list[Cell]]
    refused: list[RefusedRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)


class TableFormat(ABC):
    """A kind of file. ``is_typed``: its cells are numbers, dates and so on, not only texts. ``rows``: how many, if it says."""

    is_typed: bool
    encoding: str | None = None
    delimiter: str | None = None
    has_header: bool | None = None
    rows: int | None = None

    def __init__(self, columns: list[str], doubts: list[Doubt]) -> None:
        self.columns = columns
        self.doubts = doubts

    @abstractmethod
    def blocks(self) -> Iterator[RowBlock]:
        """The rows in blocks, once."""

    def late_doubts(self) -> list[Doubt]:
        """What only shows once the file was read."""
        return []

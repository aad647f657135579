"""How many further rows had come when the label of a row became known: history in the order in which it happened."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from driftline.api.feedback import MAX_DELAY
from driftline.errors import InvalidInput
from driftline.support.formatting import size_text

SORTED_BYTES: Final = 1 << 30
ROW_BYTES: Final = 200
"""What a row takes besides its JSON."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of the past: its JSON as an item without a delay; when it came and its label was known, in seconds since 1970."""

    number: int
    id: str
    json: bytes
    came: float = 0.0
    known: float = 0.0


class Lateness(ABC):
    """Gives rows in the order in which they came, each with its delay. The label of the last row is known at the end."""

    @abstractmethod
    def put(self, row: HistoryRow) -> Iterator[tuple[HistoryRow, int]]:
        """Takes the next row of the file; gives those whose delay is known by now."""

    @abstractmethod
    def end(self) -> Iterator[tuple[HistoryRow, int]]:
        """Gives those that are left."""


class CountedLateness(Lateness):
    """Each label is known when ``delay`` more rows have come, or at the end of the file."""

    def __init__(self, delay: int) -> None:
        self.delay = delay
        self._waiting: deque[HistoryRow] = deque()

    def put(self, row: HistoryRow) -> Iterator[tuple[HistoryRow, int]]:
        self._waiting.append(row)
        if len(self._waiting) > self.delay:
            yield self._waiting.popleft(), self.delay

    def end(self) -> Iterator[tuple[HistoryRow, int]]:
        while self._waiting:
            yield self._waiting.popleft(), len(self._waiting)


class TimedLateness(Lateness):
    """Each row came at its time, and its label was known at a time of its own.

    Rows are sorted by when they came, as far as they fit in ``max_bytes``. A longer file must be in that order: it is read as a
    stream, in which as many rows wait as come before a label is known.

    Raises:
        InvalidInput: by :meth:`put`: the file is not in order, and too long to be sorted here.
    """

    def __init__(self, time: str, max_bytes: int = SORTED_BYTES) -> None:
        self.time = time
        self.max_bytes = max_bytes
        self._kept: list[HistoryRow] = []
        self._bytes = 0
        self._last: HistoryRow | None = None
        self._is_ordered = True
        self._resolver = _Resolver()

    def put(self, row: HistoryRow) -> Iterator[tuple[HistoryRow, int]]:
        if self._last is not None and row.came < self._last.came:
            self._is_ordered = False
        if self._bytes > self.max_bytes and not self._is_ordered:
            raise InvalidInput(
                f"row {row.number:,}: {self.time} goes back here or before, and the rows take more than "
                f"{size_text(self.max_bytes)}: sort the file by {self.time} first",
                field="time",
                value=self.time,
            )
        self._last = row
        self._bytes += len(row.json) + ROW_BYTES
        if self._bytes <= self.max_bytes:
            self._kept.append(row)
            return
        kept, self._kept = self._kept, []
        for each in [*kept, row]:
            yield from self._resolver.put(each)

    def end(self) -> Iterator[tuple[HistoryRow, int]]:
        kept, self._kept = self._kept, []
        for row in sorted(kept, key=lambda row: row.came) if not self._is_ordered else kept:
            yield from self._resolver.put(row)
        yield from self._resolver.end()


class SortedLateness(Lateness):
    """Rows are sorted by when they came, as :class:`TimedLateness` does; each label is known when ``delay`` more have come."""

    def __init__(self, time: str, delay: int, max_bytes: int = SORTED_BYTES) -> None:
        self._order = TimedLateness(time, max_bytes)
        self._counted = CountedLateness(delay)

    def put(self, row: HistoryRow) -> Iterator[tuple[HistoryRow, int]]:
        for each, _ in self._order.put(row):
            yield from self._counted.put(each)

    def end(self) -> Iterator[tuple[HistoryRow, int]]:
        for each, _ in self._order.end():
            yield from self._counted.put(each)
        yield from self._counted.end()


class _Resolver:
    """The delays of rows that are in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[HistoryRow] = deque()
        self._unknown: list[tuple[float, int]] = []
        self._delays: dict[int, int] = {}
        self._first = self._count = 0

    def put(self, row: HistoryRow) -> Iterator[tuple[HistoryRow, int]]:
        # What was known when this row came was known before it was answered.
        while self._unknown and self._unknown[0][0] <= row.came:
            place = heapq.heappop(self._unknown)[1]
            if place >= self._first:
                self._delays.setdefault(place, self._count - place - 1)
        if self._waiting and self._count - self._first > MAX_DELAY:
            self._delays.setdefault(self._first, MAX_DELAY)
        yield from self._known()
        heapq.heappush(self._unknown, (row.known, self._count))
        self._waiting.append(row)
        self._count += 1

    def end(self) -> Iterator[tuple[HistoryRow, int]]:
        for place in range(self._first, self._count):
            self._delays.setdefault(place, min(MAX_DELAY, self._count - place - 1))
        yield from self._known()

    def _known(self) -> Iterator[tuple[HistoryRow, int]]:
        while self._first in self._delays:
            yield self._waiting.popleft(), min(MAX_DELAY, self._delays.pop(self._first))
            self._first += 1


def in_order(rows: Iterable[HistoryRow], lateness: Lateness) -> Iterator[tuple[HistoryRow, int]]:
    """All rows, in the order in which they came, each with its delay."""
    for row in rows:
        yield from lateness.put(row)
    yield from lateness.end()

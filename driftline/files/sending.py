"""Rows of a file on their way to a model's log."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

import orjson

from driftline.client.clients import Client
from driftline.client.feedback import EncodedItem, RefusedItem
from driftline.errors import Busy, DriftlineError, Late
from driftline.files.refusals import Refusals
from driftline.tables.blocks import RefusedRow
from driftline.tables.reading import TableFile
from driftline.tables.rows import TableRows

DIGEST_ROWS: Final = 100
NOT_OF_A_ROW: Final = frozenset(
    {
        *("unknown_model", "no_key", "unknown_key", "missing_scope", "wrong_host", "wrong_origin"),
        *("unauthorized", "forbidden", "not_found", "unsupported_media_type"),
    }
)
"""The codes of errors that the next row would meet as well."""


@dataclass
class Progress:
    """How far a file has come: of the rows that were ``read``, ``sent`` are in the log and ``learned`` are learned.

    ``handed`` are in the log or on their way: all, once the file ``is_read``. ``trouble`` is what is in the way, ``doubts`` are
    what was decided of the file.
    """

    read: int = 0
    handed: int = 0
    sent: int = 0
    unlabelled: int = 0
    refused: int = 0
    learned: int = 0
    is_read: bool = False
    doubts: list[str] = field(default_factory=list)
    trouble: str | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began


Watch = Callable[[Progress], object]
"""Is told, some times a second, how far it has come."""


def doubts_of(table: TableFile, rows: TableRows) -> list[str]:
    """What was decided of a file, as far as it is read."""
    return [f"{each.column}: {each}" if each.column else str(each) for each in (*table.doubts, *rows.doubts)]


def digest_of(name: str, table: TableFile) -> str:
    """By what a file is recognised: its name, its columns and its first rows. It is the same one when it has grown."""
    head = table.head
    rows = [[str(cell) for cell in cells[:DIGEST_ROWS]] for cells in head.columns.values()]
    return hashlib.sha256(orjson.dumps([name, list(head.columns), rows])).hexdigest()[:16]


class RowSender:
    """Hands in rows until each has its answer, over full logs and restarts of the server; use it as a context manager.

    What the server refuses goes to ``refusals``, under the number of its row. ``settled`` is the number of the last row
    that has its answer, as have all before; ``first_taken`` that of the first one that was taken.
    """

    def __init__(
        self, client: Client, model: str, refusals: Refusals, progress: Progress, watch: Watch, seconds: float = 0.2
    ) -> None:
        self.refusals = refusals
        self.progress = progress
        self.watch = watch
        self.seconds = seconds
        self.last_id: str | None = None
        self.settled = 0
        self.first_taken: int | None = None
        self._looked = 0.0
        self._refused = 0
        self._told: deque[RefusedItem] = deque()
        self._order: deque[str] = deque()
        self._numbers: dict[str, int] = {}
        self._sender = client.sender(model, timeout=None, on_error=self._note)

    def __enter__(self) -> RowSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._sender.close()
            return
        try:
            self._sender.close(timeout=0)
        except DriftlineError:
            return  # What has ended the block says more than that labels still wait.

    @property
    def duplicates(self) -> int:
        """Rows that the log had already."""
        return self._sender.duplicates

    def send(self, number: int, item: EncodedItem) -> None:
        """Hands over the row ``number``; waits for room where the server takes them slower than they come."""
        self._numbers[item.id] = number
        self._order.append(item.id)
        while True:
            try:
                self._sender.send(item, timeout=self.seconds)
                break
            except Busy:
                self.look()
        self.progress.handed += 1
        self.last_id = item.id
        if time.monotonic() - self._looked > self.seconds:
            self.look()

    def flush(self) -> None:
        """Waits until all have their answers."""
        while True:
            try:
                self._sender.flush(timeout=self.seconds)
                break
            except Late:
                self.look()
        self.look()

    def refuse(self, row: RefusedRow) -> None:
        """Writes down a row that is not sent."""
        self.refusals.add(row)
        self.progress.refused = self.refusals.count

    def look(self) -> None:
        """Takes note of what has become of those that were sent, and tells of it."""
        waiting, trouble = self._sender.waiting, self._sender.trouble
        refused: set[int] = set()
        while self._told:
            item = self._told.popleft()
            number = self._numbers.get(item.id, 0)
            refused.add(number)
            self._refused += 1
            value = None if item.value is None else str(item.value)
            self.refuse(RefusedRow(number, item.field, value, f"{item.message} ({item.code})"))
        while len(self._order) > waiting:
            self.settled = self._numbers.pop(self._order.popleft(), self.settled)
            if self.first_taken is None and self.settled not in refused:
                self.first_taken = self.settled
        self.progress.sent = max(0, self.progress.handed - waiting - self._refused)
        self.progress.trouble = None if trouble is None else trouble.message
        self.watch(self.progress)
        self._looked = time.monotonic()

    def _note(self, item: RefusedItem) -> None:
        if item.code in NOT_OF_A_ROW:
            raise DriftlineError(item.message, code=item.code)
        self._told.append(item)

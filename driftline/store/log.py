"""One model's log: records in one order, densely numbered, each there once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from driftline.errors import Busy, Conflict, CorruptData, NotFound
from driftline.records import Command, Item, Record, decode, encode
from driftline.store.connection import Connection, store_errors

MOST_RECORDS = 500
MOST_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Receipt:
    """What became of a record that was sent: ``n`` is its number in the log."""

    status: Literal["queued", "duplicate", "conflict"]
    n: int


@dataclass(frozen=True)
class Entry:
    """A record in the log. ``time`` is when it was acknowledged, by the clock of Redis, in seconds."""

    n: int
    time: float
    record: Record


@dataclass(frozen=True)
class Cursor:
    """How far a source has been read. A batch is appended only if the source still stands at ``before``."""

    source: str
    before: str
    after: str


class Log:
    """Appends to and reads from the log of the model ``uid``."""

    def __init__(self, connection: Connection, uid: str, *, cap: int, receipt_seconds: float) -> None:
        self.connection = connection
        self.uid = uid
        self.keys = connection.keys.of(uid)
        self.cap = cap
        self.receipt_ms = int(receipt_seconds * 1000)

    async def append(
        self, records: Sequence[Record], digests: Sequence[bytes] | None = None, cursor: Cursor | None = None
    ) -> list[Receipt]:
        """Appends records, each at most once by its id, in scripts of at most 500 records or 4 MiB.

        Args:
            records: what to append.
            digests: what tells a resend from another record with the same id; default: the record itself.
            cursor: moves a source on, in the same script as its records (which must then fit one script).

        Raises:
            Busy: the log is at its cap; records of earlier chunks are in, and a resend finds them.
            NotFound: the model is gone.
            Conflict: the source stands elsewhere than the cursor says.
            Unavailable: the store does not answer. The records may be in or not; send them again.
        """
        payloads = [encode(record) for record in records]
        marks = [mark(data) for data in (digests or payloads)]
        receipts: list[Receipt] = []
        for part in _chunks(payloads) if cursor is None else [slice(None)]:
            receipts += await self._append(records[part], marks[part], payloads[part], cursor)
        return receipts

    async def _append(
        self, records: Sequence[Record], marks: Sequence[str], payloads: Sequence[bytes], cursor: Cursor | None
    ) -> list[Receipt]:
        keys = self.keys
        items = [keys.item(record.id) for record in records]
        where = [cursor.source, cursor.before, cursor.after] if cursor else ["", "", ""]
        what: list[str | bytes] = []
        for record, mark, payload in zip(records, marks, payloads, strict=True):
            what += ["command" if isinstance(record, Command) else "item", mark, payload]
        answer = await self.connection.scripts.run(
            "append",
            [keys.meta, keys.log, keys.last, keys.head, keys.commands, keys.pending, keys.sources, *items],
            [self.receipt_ms, self.cap, self.connection.keys.hints, self.uid, *where, *what],
        )
        if answer == b"gone":
            raise NotFound("the model has been deleted", code="unknown_model")
        if answer == b"full":
            raise Busy(f"the log is full: {self.cap} records wait to be learned", code="log_full", retry_after=2)
        if answer == b"moved":
            raise Conflict("another reader has moved this source on", code="source_moved")
        if answer == b"done":
            return []
        return [Receipt(status.decode(), int(n)) for status, n in answer]

    async def read(self, after: int, count: int) -> list[Entry]:
        """The next records behind number ``after``, ``count`` at most.

        Raises:
            CorruptData: ``log_gap``: a record that must be there is not.
        """
        entries = await self.since(after + 1, count)
        for expected, entry in enumerate(entries, start=after + 1):
            if entry.n != expected:
                raise CorruptData(
                    f"the log goes from {expected - 1} to {entry.n}: records are missing",
                    code="log_gap",
                    after=expected - 1,
                )
        return entries

    async def since(self, n: int, count: int) -> list[Entry]:
        """The records from number ``n`` on that are still kept, ``count`` at most."""
        with store_errors():
            found = await self.connection.redis.xrange(self.keys.log, f"{n}-0", "+", count)
        return [_entry(identifier, fields) for identifier, fields in found]

    async def get(self, n: int) -> Entry | None:
        """The record with number ``n``, if it is still kept."""
        with store_errors():
            found = await self.connection.redis.xrange(self.keys.log, f"{n}-0", f"{n}-0")
        return _entry(*found[0]) if found else None

    async def kept(self, until: int, count: int) -> list[Item]:
        """The newest items up to number ``until`` that the log still keeps, oldest first; ``count`` at most."""
        if not count:
            return []
        with store_errors():
            found = await self.connection.redis.xrevrange(self.keys.log, f"{until}-0", "-", count)
        records = [_entry(identifier, fields).record for identifier, fields in reversed(found)]
        return [record for record in records if isinstance(record, Item)]

    async def find(self, identifier: str) -> tuple[int, str] | None:
        """Number and digest of the record that was appended under an id, while a resend is recognised."""
        with store_errors():
            found = await self.connection.redis.get(self.keys.item(identifier))
        if found is None:
            return None
        n, digest = found.decode().split(":", 1)
        return int(n), digest


def mark(data: bytes) -> str:
    """The digest that a record is recognised by."""
    return hashlib.sha256(data).hexdigest()[:16]


def _entry(identifier: bytes, fields: dict[bytes, bytes]) -> Entry:
    return Entry(int(identifier.partition(b"-")[0]), int(fields[b"t"]) / 1000, decode(fields[b"d"]))


def _chunks(payloads: Sequence[bytes]) -> list[slice]:
    chunks, start, size = [], 0, 0
    for index, payload in enumerate(payloads):
        if index > start and (index - start == MOST_RECORDS or size + len(payload) > MOST_BYTES):
            chunks.append(slice(start, index))
            start, size = index, 0
        size += len(payload)
    return [*chunks, slice(start, len(payloads))] if payloads else []

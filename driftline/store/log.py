"""One model's log: records in one order, densely numbered, without duplicates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Literal

from driftline.errors import Busy, Conflict, CorruptData, NotFound, Unavailable
from driftline.records import Command, Item, Record, decode, encode
from driftline.store.asked import asked
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import EventRecord
from driftline.store.facts import ANY, ANYTHING, Expectation, Known, fact_of, said_by
from driftline.store.owners import Access, Owners, owner_of, stored_name
from driftline.store.watermarks import RESTORE, Backlog, Cap

APPENDED = (
    "meta",
    "log",
    "last",
    "head",
    "commands",
    "pending",
    "sources",
    "alarms",
    "events",
    "routine",
    "source_specs",
)
"""What an append touches, in the order of ``append.lua``."""
MAX_RECORDS = 500
MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class FeedbackState:
    """The state of a record that was sent: ``n`` is its number in the log, or that of the one that is there instead.

    ``moved``: it is a revision of a record that is not the live one of its fact.
    """

    status: Literal["queued", "duplicate", "conflict", "moved"]
    n: int


@dataclass(frozen=True)
class LogEntry:
    """A record in the log. ``time`` is when it was acknowledged, by the clock of Redis, in seconds."""

    n: int
    time: float
    record: Record


@dataclass(frozen=True)
class Cursor:
    """The position of a source. A batch is appended only if the position still is ``before``, and the source that is stored
    as ``name`` is still configured as ``configured`` says; of one of the setting that is empty."""

    source: str
    before: str
    after: str
    name: str = ""
    configured: bytes = b""


class Log:
    """Appends to and reads from the log of the model ``uid``."""

    def __init__(self, connection: RedisConnection, uid: str, *, cap: Cap, receipt_seconds: float) -> None:
        self.connection = connection
        self.uid = uid
        self.keys = connection.keys.of(uid)
        self.cap = cap
        self.receipt_ms = int(receipt_seconds * 1000)

    async def append(
        self,
        records: Sequence[Record],
        digests: Sequence[bytes] | None = None,
        cursor: Cursor | None = None,
        expected: Sequence[Expectation] | None = None,
    ) -> list[FeedbackState]:
        """Appends records, each at most once by its id and its fact, in scripts of at most 500 records or 4 MiB.

        Args:
            records: what to append.
            digests: by which a resend is told from another record with the same id; default: those of the records.
            cursor: moves the position of a source, in the same script as its records (which must then fit one script).
            expected: of revisions, what they take for granted about their facts.

        Raises:
            Busy: the log is at its cap, or the store's memory is; records of earlier chunks are in, and a resend finds them.
            NotFound: the model was deleted.
            Conflict: the position of the source is not the cursor's, or how it is configured (``source_changed``); or, with
                a cursor, ids stand for another content (``ids_taken``), at the ``places`` of its details: nothing was appended.
            Unavailable: the store does not answer: the records may be in or not; send them again. Or it has lost what it
                held of the model (``log_gap``, ``store_lost``): nothing was appended.
        """
        payloads = [encode(record) for record in records]
        marks = [mark(data) for data in (digests or payloads)]
        expected = expected or [ANYTHING] * len(records)
        receipts: list[FeedbackState] = []
        for part in _chunks(payloads) if cursor is None else [slice(None)]:
            receipts += await self._append(records[part], marks[part], payloads[part], expected[part], cursor)
        return receipts

    async def _append(
        self,
        records: Sequence[Record],
        marks: Sequence[str],
        payloads: Sequence[bytes],
        expected: Sequence[Expectation],
        cursor: Cursor | None,
    ) -> list[FeedbackState]:
        keys = self.keys
        await Owners(self.connection, self.uid).note(owner_of(record.id) for record in records)
        items = [keys.item(record.id) for record in records]
        others: list[str] = []
        where = astuple(cursor or Cursor("", "", ""))
        what: list[str | bytes] = []
        for record, mark, payload, known in zip(records, marks, payloads, expected, strict=True):
            said, fact, name = said_by(record), fact_of(record), ""
            if fact != record.id:
                others.append(keys.item(fact))
                name = record.id
            if known is not ANYTHING and known.n != ANY:
                others.append(keys.item(fact if known.item is None else known.item))
            kind = record.kind if isinstance(record, Command) else "item"
            what += [f"{kind} {mark} {'-' if said is None else said.text} {known.text} {name}", payload]
        cap = Cap(-1) if self.connection.server.known.is_full else self.cap
        answer = await self.connection.scripts.run(
            "append",
            [*(getattr(keys, noun) for noun in APPENDED), *items, *others],
            [
                *(self.receipt_ms, cap.records, cap.bytes, int(cap.seconds * 1000)),
                *(self.connection.ends.known(self.uid), self.connection.keys.hints, self.uid),
                *where,
                _events(records, cursor),
                len(records),
                *what,
            ],
        )
        if isinstance(answer, bytes):
            self._refuse(*answer.decode().partition(" ")[::2])
            return []
        receipts = [FeedbackState(status.decode(), int(n)) for status, n in answer]
        for record, receipt in zip(records, receipts, strict=True):
            if isinstance(record, Command) and receipt.status == "queued" and (event := asked(record)) is not None:
                event.log(self.uid)
        if queued := [receipt.n for receipt in receipts if receipt.status == "queued"]:
            self.connection.ends.note(self.uid, queued[-1])
        return receipts

    def _refuse(self, reason: str, rest: str) -> None:
        """Raises the error of the script's answer, if it is one; ``done`` means that nothing is left to do."""
        match reason:
            case "gone":
                raise NotFound("the model has been deleted", code="unknown_model")
            case "moved":
                raise Conflict("another reader has moved this source on", code="source_moved")
            case "changed":
                raise Conflict("the source is configured otherwise by now", code="source_changed")
            case "conflicts":
                places = [int(place) - 1 for place in rest.split()]
                raise Conflict("ids were used before for another content", code="ids_taken", places=places)
            case "full":
                raise self._full(*map(int, rest.split()))
            case "lost":
                raise Unavailable(f"the store has lost the model's head; {RESTORE}", code="store_lost")
            case "back":
                raise went_back(*map(int, rest.split()))
            case "gap":
                raise Unavailable(f"the log lacks record {rest}, which is not learned; {RESTORE}", code="log_gap")
            case "halted":
                raise Unavailable(rest, code="log_gap")

    def _full(self, records: int, size: int, ms: int) -> Busy:
        memory = self.connection.server.known
        if memory.is_full:
            return Busy(memory.alarms["store_memory"], code="store_full", retry_after=5)
        message = f"the log is full: {Backlog(records, size, ms / 1000).told(self.cap)}"
        return Busy(message, code="log_full", retry_after=2)

    async def newest(self) -> int:
        """The number of the newest record; 0 while there is none.

        Raises:
            Unavailable: ``store_lost``: a record that was acknowledged to this process is missing.
        """
        with store_errors():
            newest = int(await self.connection.redis.get(self.keys.last) or 0)
        known = self.connection.ends.known(self.uid)
        if newest < known:
            raise went_back(newest, known)
        self.connection.ends.note(self.uid, newest)
        return newest

    async def read(self, after: int, count: int) -> list[LogEntry]:
        """The next records after number ``after``, ``count`` at most.

        Raises:
            CorruptData: ``log_gap``: a record is missing.
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

    async def since(self, n: int, count: int) -> list[LogEntry]:
        """The records from number ``n`` on that the log still holds, ``count`` at most."""
        with store_errors():
            found = await self.connection.redis.xrange(self.keys.log, f"{n}-0", "+", count)
        return [_entry(identifier, fields) for identifier, fields in found]

    async def get(self, n: int) -> LogEntry | None:
        """The record with number ``n``, if the log still holds it."""
        with store_errors():
            found = await self.connection.redis.xrange(self.keys.log, f"{n}-0", f"{n}-0")
        return _entry(*found[0]) if found else None

    async def latest(self, until: int, count: int) -> list[Item]:
        """The newest items up to number ``until`` that the log still holds and that were not revised since, oldest first;
        of ``count`` records at most."""
        if not count:
            return []
        with store_errors():
            found = await self.connection.redis.xrevrange(self.keys.log, f"{until}-0", "-", count)
        entries = [_entry(identifier, fields) for identifier, fields in reversed(found)]
        items = [(entry.n, entry.record) for entry in entries if isinstance(entry.record, Item)]
        revised = {item.revises.n for _, item in items if item.revises is not None}
        return [item for n, item in items if n not in revised]

    async def find(self, identifier: str) -> Known | None:
        """The record that was appended under an id, for as long as a resend is recognised."""
        return (await self.find_all([identifier]))[0]

    async def find_all(self, identifiers: Sequence[str]) -> list[Known | None]:
        """The same of several ids, or names of facts, at once."""
        found = await self._kept(identifiers)
        others = {known.item for known in found if known is not None and known.item is not None}
        if not others:
            return found
        named = dict(zip(others, await self._kept(list(others)), strict=True))
        return [known if known is None or known.item is None else named[known.item] or known for known in found]

    async def find_seen(self, names: Sequence[str], access: Access) -> list[Known | None]:
        """The same of what a caller calls so; of several owners' the newest."""
        owners = await Owners(self.connection, self.uid).seen(access)
        found = [await self.find_all([stored_name(name, owner) for name in names]) for owner in owners]
        return [
            max((each for each in known if each), key=lambda each: each.n, default=None)
            for known in zip(*found, strict=True)
        ]

    async def find_fact(self, name: str) -> tuple[str, Known] | None:
        """The id that the live record of a fact goes by, and what is known of it."""
        (found,) = await self._kept([name])
        if found is None or found.item is None:
            return None if found is None else (name, found)
        live = await self.find(found.item)
        # The id may stand for another record by now: what the fact itself says is what a revision has to meet.
        return (name, found) if live is None or live.n != found.n else (found.item, live)

    async def find_seen_fact(self, name: str, access: Access) -> tuple[str, Known] | None:
        """The same of what a caller calls so; of several owners' the newest."""
        names = [stored_name(name, owner) for owner in await Owners(self.connection, self.uid).seen(access)]
        known = zip(names, await self._kept(names), strict=True)
        newest = max(((each.n, stored) for stored, each in known if each is not None), default=None)
        return None if newest is None else await self.find_fact(newest[1])

    async def _kept(self, names: Sequence[str]) -> list[Known | None]:
        with store_errors():
            found = await self.connection.redis.mget([self.keys.item(each) for each in names])
        return [None if text is None else Known.parse(text) for text in found]


def went_back(newest: int, known: int) -> Unavailable:
    """The error of a log that ends before an acknowledged record."""
    return Unavailable(
        f"the log ends at record {newest}, and record {known} was acknowledged: the store has lost writes, or an older "
        "copy of it was restored; restore a newer one, or restart Driftline to go on with what is there, and send the "
        "labels in between again",
        code="store_lost",
    )


def mark(data: bytes) -> str:
    """The digest that a record is recognised by."""
    return hashlib.sha256(data).hexdigest()[:16]


def _entry(identifier: bytes, fields: dict[bytes, bytes]) -> LogEntry:
    return LogEntry(int(identifier.partition(b"-")[0]), int(fields[b"t"]) / 1000, decode(fields[b"d"]))


def _events(records: Sequence[Record], cursor: Cursor | None) -> str:
    """What commands among the records do at once, by their place, and a source that is new, as the script takes it."""
    found = {
        str(place): event.stored
        for place, record in enumerate(records, start=1)
        if isinstance(record, Command) and (event := asked(record)) is not None
    }
    if cursor is not None and not cursor.before:
        event = EventRecord(
            "source", f"the source {cursor.source} is read", "worker", details={"source": cursor.source}
        )
        found["source"] = event.stored
    return json.dumps(found) if found else ""


def _chunks(payloads: Sequence[bytes]) -> list[slice]:
    chunks, start, size = [], 0, 0
    for index, payload in enumerate(payloads):
        if index > start and (index - start == MAX_RECORDS or size + len(payload) > MAX_BYTES):
            chunks.append(slice(start, index))
            start, size = index, 0
        size += len(payload)
    return [*chunks, slice(start, len(payloads))] if payloads else []

"""What has happened: the events of a model, and those of the instance, which are about none or about one that is gone.

An event is written by the same script as its cause (a commit, a command, an alarm), so that there is never one without the
other, and each once, however often a write is sent. ``happened.lua`` says how they are kept.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Collection
from typing import Any

import msgspec

from driftline.errors import InvalidInput
from driftline.store.connection import RedisConnection, store_errors
from driftline.support.logs import tell

INSTANCE = "instance"
"""Stands for a uid where events are those of the whole instance."""
ROUTINE = frozenset({"version", "refusal"})
"""The kinds that are many, and stand in a stream of their own."""
MAX_PAGE = 500
"""Most entries that are read at once."""
_ID = re.compile(r"(\d{13})-(\d{8,15})-(\w+)")


class EventRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has happened, as it is stored; :class:`driftline.api.events.Event` says what its fields mean.

    ``model`` is given where an event is not among those of its model.
    """

    kind: str
    message: str
    actor: str = "system"
    reason: str = ""
    model: str = ""
    version: int | None = None
    parent: int | None = None
    records: tuple[int, int] | None = None
    job: str | None = None
    alarm: str | None = None
    scores: dict[str, float] = {}
    details: dict[str, Any] = {}

    def log(self, model: str) -> None:
        """Logs it, as a line about ``model``."""
        fields = {name: getattr(self, name) for name in ("actor", "reason", "version", "records", "job", "alarm")}
        tell(self.model or model, self.kind, self.message, **fields)

    @property
    def stored(self) -> list[str]:
        """Its kind and its text, as the scripts take them."""
        return [self.kind, msgspec.json.encode(self).decode()]


class EventPlace(msgspec.Struct, frozen=True, order=True):
    """The place of event ``n``, which happened at ``ms`` since 1970, among those of ``uid``, and among all."""

    ms: int
    n: int = 0
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.ms:013d}-{self.n:08d}-{self.uid}"

    @classmethod
    def at(cls, seconds: float) -> EventPlace:
        """The place before everything that happened from a time on."""
        return cls(math.ceil(seconds * 1000))

    def within(self, uid: str) -> str:
        """The id of the entry, exclusive, at which a range over the events of ``uid`` begins or ends at this place."""
        return f"({self.ms}-{self.n + (uid < self.uid)}"

    def after(self, uid: str) -> str:
        """The same, where the range begins after this place."""
        return f"({self.ms}-{self.n - (bool(self.n) and uid > self.uid)}"


BEGINNING = EventPlace(0)
END = EventPlace(9_999_999_999_999)


class StoredEvent(msgspec.Struct, frozen=True):
    """An event, and its place."""

    cursor: EventPlace
    event: EventRecord


def parse_cursor(text: str, field: str) -> EventPlace:
    """The place that the id of an event names; :class:`InvalidInput` where it is none."""
    found = _ID.fullmatch(text)
    if found is None:
        raise InvalidInput(f"{field}: {text!r} is not the id of an event", field=field, value=text)
    return EventPlace(int(found[1]), int(found[2]), found[3])


class EventLog:
    """Reads the events of ``uid``: of a model, or of the :data:`INSTANCE`."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.connection = connection
        self.uid = uid
        self.keys = connection.keys.of(uid)

    async def newest(
        self, low: EventPlace, high: EventPlace, count: int, kinds: Collection[str] | None = None
    ) -> list[StoredEvent]:
        """The newest events after ``low`` and before ``high``, newest first: ``count`` at most, of ``kinds`` if given."""
        found: list[StoredEvent] = []
        end = high.within(self.uid)
        while len(found) < count:
            size = count if kinds is None else MAX_PAGE
            page, is_last = await self._page(low.after(self.uid), end, size, kinds)
            found += [stored for stored in page if kinds is None or stored.event.kind in kinds]
            if is_last:
                break
            end = f"({_entry_id(page[-1].cursor)}"
        return found[:count]

    async def _page(
        self, start: str, end: str, count: int, kinds: Collection[str] | None
    ) -> tuple[list[StoredEvent], bool]:
        """The newest ``count`` events of all kinds, or of the streams that hold ``kinds``; and whether these are all."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for key in self._streams(kinds):
                    pipe.xrevrange(key, end, start, count)
                streams = await pipe.execute()
        merged = sorted((self._event(entry) for stream in streams for entry in stream), key=_place, reverse=True)
        return merged[:count], all(len(stream) < count for stream in streams) and len(merged) <= count

    def _streams(self, kinds: Collection[str] | None) -> list[str]:
        has_rare = kinds is None or bool(set(kinds) - ROUTINE)
        has_routine = kinds is None or bool(ROUTINE & set(kinds))
        return [self.keys.events] * has_rare + [self.keys.routine] * has_routine

    async def after(self, place: EventPlace, count: int = MAX_PAGE) -> list[StoredEvent]:
        """The events after a place, oldest first; ``count`` at most."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for key in (self.keys.events, self.keys.routine):
                    pipe.xrange(key, place.after(self.uid), "+", count)
                streams = await pipe.execute()
        return sorted((self._event(entry) for stream in streams for entry in stream), key=_place)[:count]

    async def trim(self, count: int, before: float) -> None:
        """Removes what happened before a time, and of each stream all but the newest ``count``."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for key in (self.keys.events, self.keys.routine):
                    pipe.xtrim(key, minid=f"{max(0, int(before * 1000))}-0", approximate=False)
                    pipe.xtrim(key, maxlen=count, approximate=False)
                await pipe.execute()

    async def end(self) -> EventPlace:
        """The place of the newest event."""
        return (await ends(self.connection, [self.uid]))[self.uid]

    def _event(self, entry: tuple[bytes, dict[bytes, bytes]]) -> StoredEvent:
        ms, _, n = entry[0].partition(b"-")
        return StoredEvent(EventPlace(int(ms), int(n), self.uid), msgspec.json.decode(entry[1][b"e"], type=EventRecord))


async def happen(connection: RedisConnection, token: str, event: EventRecord) -> None:
    """Appends an event of the instance, once by its ``token`` within a day."""
    keys = connection.keys.of(INSTANCE)
    await connection.scripts.run(
        "happen",
        [keys.head, keys.events, keys.routine, keys.item(token)],
        [connection.keys.hints, INSTANCE, *event.stored],
    )


async def tell_key(connection: RedisConnection, identifier: str, name: str, what: str, actor: str) -> None:
    """Puts it among the events of the instance that an API key was ``made``, ``rotated`` or ``revoked``."""
    shown = f"{identifier} ({name})" if name else identifier
    event = EventRecord("key", f"the key {shown} was {what}", actor, details={"key": identifier, "name": name})
    await happen(connection, f"key:{identifier}:{what}:{secrets.token_hex(8)}", event)
    event.log("")


async def ends(connection: RedisConnection, uids: Collection[str]) -> dict[str, EventPlace]:
    """The place of the newest event of each, in one round trip; the beginning where there is none."""
    with store_errors():
        async with connection.redis.pipeline(transaction=False) as pipe:
            for uid in uids:
                pipe.hmget(connection.keys.of(uid).head, "event_ms", "events")
            found = await pipe.execute()
    return {uid: EventPlace(int(ms or 0), int(n or 0), uid) for uid, (ms, n) in zip(uids, found, strict=True)}


async def newest_of_all(
    connection: RedisConnection,
    uids: Collection[str],
    low: EventPlace,
    high: EventPlace,
    count: int,
    kinds: Collection[str] | None = None,
) -> list[StoredEvent]:
    """The newest events of all ``uids`` between two places, newest first; ``count`` at most.

    Those whose newest event is the newest are read first, so that most need not be read.
    """
    found: list[StoredEvent] = []
    for uid, end in sorted((await ends(connection, uids)).items(), key=lambda pair: pair[1], reverse=True):
        if end <= low or (len(found) == count and end < found[-1].cursor):
            break
        events = await EventLog(connection, uid).newest(low, high, count, kinds)
        found = sorted([*found, *events], key=_place, reverse=True)[:count]
    return found


def _place(stored: StoredEvent) -> EventPlace:
    return stored.cursor


def _entry_id(cursor: EventPlace) -> str:
    return f"{cursor.ms}-{cursor.n}"

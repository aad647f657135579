"""Tells of events as they happen: wakes whoever waits for those of a model, or of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import cast

from driftline.api.events import Event
from driftline.errors import Unavailable
from driftline.store.catalog import Catalog, by_uid
from driftline.store.connection import RedisConnection
from driftline.store.events import BEGINNING, END, INSTANCE, MAX_PAGE, EventLog, EventPlace, StoredEvent, ends

Batch = list[StoredEvent]


class EventFeed:
    """Follows events for any number of readers. Hints of the store make it quick; polling makes up for lost hints.

    Args:
        poll_seconds: how often a reader of one model looks by itself; one of all models looks a fifth as often.
        overlap_seconds: how much earlier than its last event a reader of all models begins again: what was written at the
            same time, by another node of the store, it may not have seen. So it may get events twice, and never loses one.
    """

    def __init__(self, connection: RedisConnection, poll_seconds: float, *, overlap_seconds: float = 10.0) -> None:
        self.connection = connection
        self.catalog = Catalog(connection)
        self.poll_seconds = poll_seconds
        self.overlap_seconds = overlap_seconds
        self._waiting: dict[str | None, set[asyncio.Event]] = {}

    def hint(self, uid: str | None) -> None:
        """Wakes the readers of a model; None: all readers."""
        for key in self._waiting if uid is None else (uid, None):
            for waiting in self._waiting.get(key, ()):
                waiting.set()

    @contextmanager
    def _woken(self, uid: str | None) -> Iterator[asyncio.Event]:
        wake = asyncio.Event()
        self._waiting.setdefault(uid, set()).add(wake)
        try:
            yield wake
        finally:
            self._waiting[uid].discard(wake)
            if not self._waiting[uid]:
                del self._waiting[uid]

    async def of_model(self, uid: str, place: EventPlace) -> AsyncIterator[Batch]:
        """The events of a model after a place, as they happen; ends when the model is deleted.

        An empty batch says that nothing has happened for a while.
        """
        log = EventLog(self.connection, uid)
        with self._woken(uid) as wake:
            while True:
                wake.clear()
                try:
                    events = await log.after(place)
                    if not events and not await self.catalog.is_named(uid):
                        yield await self._removal(uid)
                        return
                except Unavailable:
                    events = []
                if events:
                    place = events[-1].cursor
                yield events
                if not events:
                    await _wait(wake, self.poll_seconds)

    async def all_events(self, place: EventPlace | None) -> AllEvents:
        """Reads the events of all models from a place, or from now on."""
        reader = AllEvents(self.connection, self.overlap_seconds)
        await reader.begin(place)
        return reader

    async def of_all(self, reader: AllEvents) -> AsyncIterator[Batch]:
        """What a reader of all models finds, likewise."""
        with self._woken(None) as wake:
            while True:
                wake.clear()
                try:
                    events = await reader.read()
                except Unavailable:
                    events = []
                yield events
                if not events:
                    await _wait(wake, 5 * self.poll_seconds)

    async def _removal(self, uid: str) -> Batch:
        """The event of a model's removal, which stands among those of the instance."""
        log = EventLog(self.connection, INSTANCE)
        newest = await log.newest(BEGINNING, END, MAX_PAGE, {"deleted"})
        return [stored for stored in newest if stored.event.details.get("uid") == uid][:1]


class AllEvents:
    """Reads the events of all models in rounds, each model from where the last round ended."""

    def __init__(self, connection: RedisConnection, overlap_seconds: float) -> None:
        self.connection = connection
        self.catalog = Catalog(connection)
        self.overlap_seconds = overlap_seconds
        self.begin_at = BEGINNING
        self.places: dict[str, EventPlace] = {}
        self.names: dict[str, str] = {}
        """The names of the models, by uid."""

    async def begin(self, place: EventPlace | None) -> None:
        """Begins a little before a place, or now. Models that are made later are read from their beginning."""
        if place is None:
            self.places = await self.ends()
        else:
            self.begin_at = EventPlace(max(0, place.ms - int(1000 * self.overlap_seconds)))

    async def ends(self) -> dict[str, EventPlace]:
        """The newest event of each model."""
        names = await self.catalog.names()
        self.names.update(by_uid(names))
        return await ends(self.connection, [INSTANCE, *names.values()])

    async def read(self) -> Batch:
        """What has happened since the last round, oldest first.

        What happened while this round was reading waits for the next one, if it took long: a reader that comes back after the
        last event of a round must find what the round has not seen by looking a little earlier.
        """
        latest = int(1000 * (self.connection.now() + self.overlap_seconds / 2))
        found: Batch = []
        for uid, end in (await self.ends()).items():
            place = self.places.get(uid, self.begin_at)
            if end <= place:
                continue
            events = [
                stored for stored in await EventLog(self.connection, uid).after(place) if stored.cursor.ms <= latest
            ]
            if events:
                self.places[uid] = events[-1].cursor
                found += events
        return sorted(found, key=lambda stored: stored.cursor)


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()


def shown(stored: StoredEvent, names: Mapping[str, str]) -> Event:
    """An event as the API shows it."""
    event = stored.event
    found = {
        "id": str(stored.cursor),
        "n": stored.cursor.n,
        "model": event.model or names.get(stored.cursor.uid, ""),
        "time": stored.cursor.ms / 1000,
        "kind": event.kind,
        "actor": event.actor,
        "reason": event.reason,
        "message": event.message,
        "version": event.version,
        "parent": event.parent,
        "records": event.records,
        "job": event.job,
        "alarm": event.alarm,
        "scores": event.scores or None,
        "details": event.details or None,
    }
    return cast(Event, {name: value for name, value in found.items() if value is not None})

"""Events, and records that sources could not take, written to topics of the operator's, in order, until they are taken."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import secrets
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from driftline.api.events import KINDS, Event
from driftline.errors import ConfigurationError, Unavailable
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter
from driftline.sinks.registry import SINKS
from driftline.sources.formats import shown as shown_record
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import INSTANCE, EventPlace, parse_cursor
from driftline.store.sources import SourceBook

from ..event_feed import EventFeed, shown

logger = logging.getLogger("driftline.sinks")

CLAIM_MS, MAX_REMEMBERED = 10_000, 20_000
FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0
NOTHING = Moved("", "")


class SinkTarget(BaseModel):
    """What is written to one sink: events, such as versions, of all kinds or some; predictions; what sources could not take."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    sink: Sink
    id: str
    carries: Literal["events", "predictions", "dead_letters"] = "events"
    kinds: list[str] = Field([])
    models: list[str] = Field([])

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: list[str]) -> list[str]:
        for unknown in sorted(set(kinds) - KINDS.keys()):
            raise ValueError(f"there are no events of kind {unknown!r}; known: {', '.join(KINDS)}")
        return kinds

    def wants(self, event: Event) -> bool:
        """Whether an event goes there."""
        return (not self.kinds or event["kind"] in self.kinds) and (not self.models or event["model"] in self.models)


def parse_sinks(text: str) -> list[SinkTarget]:
    """The targets of ``DRIFTLINE_SINKS``; :class:`ConfigurationError` says what is wrong with it."""
    try:
        value: Any = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"DRIFTLINE_SINKS: {error}") from None
    if not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
        raise ConfigurationError("DRIFTLINE_SINKS is not a JSON list of objects")
    try:
        return [_target(each) for each in value]
    except ValidationError as error:
        # What was given is left out: it may hold a password.
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"DRIFTLINE_SINKS: {field}: {first['msg']}") from None


def _target(described: Mapping[str, Any]) -> SinkTarget:
    own = {name: described[name] for name in ("carries", "kinds", "models") if name in described}
    sink = SINKS.parse({name: value for name, value in described.items() if name not in own})
    digest = hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
    return SinkTarget(sink=sink, id=digest, **own)


class SinkFeeder(ABC):
    """Writes what one target wants. Of several processes one does; how far it is is kept in the store.

    After a crash, messages of the last seconds may come again, with the same ids.
    """

    def __init__(
        self,
        target: SinkTarget,
        connection: RedisConnection,
        poll_seconds: float,
        *,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self.target = target
        self.connection = connection
        self.poll_seconds = poll_seconds
        self.first_pause = first_pause
        self.owner = secrets.token_hex(8)
        self.keys = connection.keys.of(INSTANCE)
        self._field = f"sink:{target.id}"

    async def run(self) -> None:
        """Writes until cancelled; a sink that fails is told by who restarts this."""
        pause = self.first_pause
        while True:
            if not await self._is_mine():
                await asyncio.sleep(CLAIM_MS / 3000)
                continue
            try:
                writer = await self.target.sink.written_by(self._field).open()
                try:
                    await self._feed(writer)
                finally:
                    await writer.close()
            except Unavailable as error:
                # The place has not moved: what was not taken is written again.
                logger.warning("the sink %s does not take what is written, and is tried again: %s", self._field, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(LAST_PAUSE, 2 * pause)
            else:
                pause = self.first_pause

    @abstractmethod
    async def _feed(self, writer: SinkWriter) -> None:
        """Writes for as long as no other process does."""

    async def _is_mine(self) -> bool:
        claim = self.keys.item(self._field)
        with suppress(Unavailable):
            return bool(await self.connection.scripts.run("hold", [claim], [self.owner, CLAIM_MS]))
        return False

    async def _kept(self, field: str) -> str:
        with store_errors():
            found = await self.connection.redis.hget(self.keys.meta, field)
        return found.decode() if found else ""

    async def _keep(self, field: str, place: str) -> None:
        with store_errors():
            await self.connection.redis.hset(self.keys.meta, field, place)


class EventFeeder(SinkFeeder):
    """Writes events, from when the sink was configured first."""

    def __init__(
        self, target: SinkTarget, connection: RedisConnection, poll_seconds: float, feed: EventFeed, **options: float
    ) -> None:
        super().__init__(target, connection, poll_seconds, **options)
        self.feed = feed
        self._sent: deque[str] = deque(maxlen=MAX_REMEMBERED)

    async def _feed(self, writer: SinkWriter) -> None:
        text = await self._kept(self._field)
        place = parse_cursor(text, "sink") if text else None
        reader = await self.feed.all_events(place)
        if place is None:
            # Whoever goes on, goes on from here.
            await self._keep(self._field, str(EventPlace(int(1000 * await self.connection.time()), 0, INSTANCE)))
        async for batch in self.feed.of_all(reader):
            if not await self._is_mine():
                return
            events = [shown(stored, reader.names) for stored in batch if str(stored.cursor) not in self._sent]
            wanted = [event for event in events if self.target.wants(event)]
            if wanted:
                await writer.write([_message(event) for event in wanted], NOTHING)
            if batch:
                self._sent.extend(event["id"] for event in events)
                await self._keep(self._field, str(batch[-1].cursor))


class LetterFeeder(SinkFeeder):
    """Writes what sources could not take."""

    async def _feed(self, writer: SinkWriter) -> None:
        catalog = Catalog(self.connection)
        while await self._is_mine():
            for name, uid in (await catalog.names()).items():
                if not self.target.models or name in self.target.models:
                    await self._letters_of(writer, name, uid)
            await asyncio.sleep(self.poll_seconds)

    async def _letters_of(self, writer: SinkWriter, name: str, uid: str) -> None:
        field, book = f"{self._field}:{uid}", SourceBook(self.connection, uid)
        letters = await book.dead_after(int(await self._kept(field) or 0))
        if letters:
            messages = [
                SinkMessage(
                    f"{uid}:{letter.id}",
                    msgspec.json.encode(
                        {"model": name, "id": letter.id, "source": letter.source, "place": letter.place}
                        | {"reason": letter.reason, "raw": shown_record(letter.raw, letter.format), "time": letter.time}
                    ),
                )
                for _, letter in letters
            ]
            await writer.write(messages, NOTHING)
            await self._keep(field, str(letters[-1][0]))


def _message(event: Event) -> SinkMessage:
    return SinkMessage(event["id"], orjson.dumps(event), event["model"] or None)

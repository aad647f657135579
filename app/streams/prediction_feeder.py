"""Predictions, whoever asked for them, written to topics of the operator's: those that are recorded, from where they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from driftline.sinks.base import SinkMessage, SinkWriter
from driftline.store.alarms import Alarms
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.owners import shown_name
from driftline.store.prediction_batches import PredictionBatch, decode_batch
from driftline.store.prediction_ids import EntryId, PredictionId

from .sink_feeder import FIRST_PAUSE, NOTHING, SinkFeeder, SinkTarget

MAX_ENTRIES, MAX_BYTES, MAX_AT_ONCE = 500, 4 * 2**20, 1000
"""Most batches of one read, how large they may be before the next one takes fewer, and most messages of one write."""
LOOK_BACK_SECONDS, LOOK_SECONDS = 10.0, 60.0
"""For how long after a replica has written it is looked at again and again, and how often all are looked at."""

GAP = "sink_gap"
"""The alarm that a sink has lost predictions; it stands until somebody acknowledges it."""


class _Place(NamedTuple):
    """How far the predictions of a replica are written: up to which batch, and how many there had been with it; -1: nobody
    knows."""

    entry: str
    told: int

    @classmethod
    def parse(cls, text: bytes) -> _Place:
        entry, _, count = text.decode().partition(" ")
        return cls(entry, int(count))


class PredictionFeeder(SinkFeeder):
    """Writes what all replicas have recorded of their answers, in the order of each, from when the sink was configured first.

    What is recorded outlasts its replica, so that whoever goes on writes that too. What is no longer kept before the sink has
    taken it is lost to it, and counted.

    Args:
        horizon: how long a prediction is kept, in seconds.
    """

    def __init__(
        self,
        target: SinkTarget,
        connection: RedisConnection,
        poll_seconds: float,
        horizon: float,
        *,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        super().__init__(target, connection, poll_seconds, first_pause=first_pause)
        self.horizon = horizon
        self.dropped = 0
        self._begun = time.monotonic()
        self._places = self.keys.item(f"{self._field}:places")
        self._count = 1
        self._wake = asyncio.Event()

    def wants(self, model: str) -> bool:
        """Whether the predictions of a model go there."""
        return not self.target.models or model in self.target.models

    def wake(self) -> None:
        """Looks at once: this process has recorded some."""
        self._wake.set()

    async def _feed(self, writer: SinkWriter) -> None:
        start = await self._kept(self._field)
        if not start:
            start = str(int(1000 * (await self.connection.time() - (time.monotonic() - self._begun))))
            await self._keep(self._field, start)
        looked = -float("inf")
        while await self._is_mine():
            self._wake.clear()
            if is_whole := time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                await self._tidy()
            for stream in await self._streams(is_whole):
                if not await self._write(writer, stream, start):
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(self.poll_seconds):
                    await self._wake.wait()

    async def _streams(self, is_whole: bool) -> list[str]:
        """The replicas' predictions that were written to lately, or all: UID:NONCE of each."""
        since = 0 if is_whole else int((self.connection.now() - LOOK_BACK_SECONDS) * 1000)
        with store_errors():
            found = await self.connection.redis.zrangebyscore(self.connection.keys.told, since, "+inf")
        return [name.decode() for name in found]

    async def _tidy(self) -> None:
        """Forgets replicas of which nothing is kept any more."""
        over = int((self.connection.now() - 2 * self.horizon) * 1000)
        with store_errors():
            await self.connection.redis.zremrangebyscore(self.connection.keys.told, 0, over)
            known = {name.encode() for name in await self._streams(is_whole=True)}
            for places in (self._places, self.connection.keys.told_counts):
                gone = [name for name in await self.connection.redis.hkeys(places) if name not in known]
                if gone:
                    await self.connection.redis.hdel(places, *gone)

    async def _write(self, writer: SinkWriter, stream: str, start: str) -> bool:
        """Writes what a replica has recorded of a model since; false where another process writes now."""
        uid, _, nonce = stream.partition(":")
        key = self.connection.keys.of(uid).predictions(nonce)
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                pipe.hget(self._places, stream)
                pipe.hget(self.connection.keys.told_counts, stream)
                text, told = await pipe.execute()
        place, recorded = _Place(f"{start}-0", -1) if text is None else _Place.parse(text), int(told or 0)
        while True:
            with store_errors():
                page = await self.connection.redis.xrange(key, f"({place.entry}", "+", self._count)
            is_behind = 0 <= place.told < recorded
            if not page and not is_behind:
                return True
            if not await self._is_mine():
                return False
            if not page:
                # All that had been recorded was there, and is no more.
                await self._move(stream, uid, _Place(place.entry, recorded), recorded - place.told)
                return True
            size = sum(len(fields[b"b"]) for _, fields in page)
            self._count = max(1, self._count // 2) if size > MAX_BYTES else min(MAX_ENTRIES, 2 * self._count)
            messages, lost = list[SinkMessage](), 0
            for entry, fields in page:
                batch, count = decode_batch(fields[b"b"]), place.told
                if batch.texts:
                    lost += max(0, batch.told - count) if count >= 0 else 0
                    count = batch.told + len(batch.texts) if batch.told >= 0 else -1
                    messages += self._messages(batch, uid, nonce, EntryId.parse(entry))
                place = _Place(entry.decode(), count)
            for first in range(0, len(messages), MAX_AT_ONCE):
                await writer.write(messages[first : first + MAX_AT_ONCE], NOTHING)
            await self._move(stream, uid, place, lost)

    async def _move(self, stream: str, uid: str, place: _Place, lost: int) -> None:
        """Goes on from a place, before which so many predictions of a model were lost to the sink; that is told first, as
        nobody knows it afterwards."""
        if lost:
            what = (
                f"predictions were no longer kept before the sink {self.target.sink.type} ({self.target.id}) took them"
            )
            await Alarms(self.connection, uid).raise_alarm(GAP, f"{lost:,} {what}; it takes those that came after them")
        with store_errors():
            await self.connection.redis.hset(self._places, stream, f"{place.entry} {place.told}")
        self.dropped += lost

    def _messages(self, batch: PredictionBatch, uid: str, nonce: str, entry: EntryId) -> Sequence[SinkMessage]:
        models = self.target.models
        if models and not any(batch.head.startswith(b'{"model":%b,' % msgspec.json.encode(name)) for name in models):
            return []
        # Of a row that was erased nothing is left.
        return [
            SinkMessage(
                PredictionId(uid, nonce, entry, row, batch.token(row)).fact.removeprefix("p:"),
                batch.head + text,
                shown_name(batch.keys[row]) if row in batch.keys else None,
            )
            for row, text in enumerate(batch.texts)
            if text
        ]

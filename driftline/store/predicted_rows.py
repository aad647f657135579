"""A sample of the rows that are predicted, from what is recorded of them: in their order, and at a cost that has a bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from driftline.store.connection import RedisConnection, store_errors
from driftline.store.prediction_batches import PredictionBatch, decode_batch
from driftline.store.prediction_ids import EntryId
from driftline.store.predictions import MARK_SECONDS

MAX_ROWS, MAX_ENTRIES, MAX_BYTES = 64, 64, 2**20
"""Most rows of one reading, of how many batches they are at most, and after how many bytes it reads no further batch, and of
rows wider than that takes fewer."""
FIRST_READINGS = 16
"""So many readings, evenly spread in time, of what a stream holds that is read for the first time."""
LATELY = 60.0
"""For how many seconds a mark tells that a stream is written to."""


class PredictedRow(NamedTuple):
    """A row as it is recorded, and when it was answered, in milliseconds since 1970."""

    ms: int
    inputs: Mapping[str, bytes]


class PredictedRows:
    """Reads what replicas have recorded of their answers, some rows of each stretch of time."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection

    async def streams(self, since: float) -> dict[str, list[str]]:
        """The streams that have been written to since a time, in seconds: of each model, by uid, their nonces."""
        keys, begin = self.connection.keys, since - 2 * MARK_SECONDS
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                pipe.zremrangebyscore(keys.predicted, "-inf", self.connection.now() - LATELY)
                pipe.zrangebyscore(keys.predicted, begin, "+inf")
                _, names = await pipe.execute()
        found: dict[str, list[str]] = {}
        for name in names:
            uid, _, nonce = name.decode().partition(":")
            found.setdefault(uid, []).append(nonce)
        return found

    async def read(self, uid: str, nonce: str, after: EntryId | None) -> tuple[list[PredictedRow], EntryId]:
        """Some of the rows that were recorded after an entry, and the entry after which to read next.

        None: nothing of the stream was read yet, and a sample of all that it holds is.
        """
        key = self.connection.keys.of(uid).predictions(nonce)
        if after is not None:
            return await self._read(key, after)
        found, last, beginnings = list[PredictedRow](), EntryId(0, 0), await self._beginnings(key)
        for beginning in beginnings:
            is_last = beginning is beginnings[-1]
            rows, last = await self._read(key, max(beginning, last), are_more_left=not is_last)
            found += rows
        return found, last

    async def _beginnings(self, key: str) -> list[EntryId]:
        with store_errors():
            oldest = await self.connection.redis.xrange(key, count=1)
        begin = EntryId.parse(oldest[0][0]).ms - 1 if oldest else self._now
        return [EntryId(int(ms), 0) for ms in np.linspace(begin, self._now, FIRST_READINGS, endpoint=False)]

    @property
    def _now(self) -> int:
        return int(self.connection.now() * 1000)

    async def _read(self, key: str, after: EntryId, are_more_left: bool = False) -> tuple[list[PredictedRow], EntryId]:
        """Rows of the next batches. What is more than one reading takes is passed over, unless it is left for others."""
        batches, rows, size, count = list[tuple[EntryId, PredictionBatch]](), 0, 0, 1
        while rows < MAX_ROWS and len(batches) < MAX_ENTRIES and size < MAX_BYTES:
            with store_errors():
                page = await self.connection.redis.xrange(key, f"({after}", "+", count)
            for entry, fields in page:
                after, batch = EntryId.parse(entry), decode_batch(fields[b"b"])
                batches.append((after, batch))
                rows, size = rows + batch.rows, size + len(fields[b"b"])
            if len(page) < count:
                break
            count *= 2
        else:
            after = after if are_more_left else max(after, EntryId(self._now - 1, 0))
        return _spread(batches, min(MAX_ROWS, max(1, MAX_BYTES * rows // size)) if size else 0), after


def _spread(batches: list[tuple[EntryId, PredictionBatch]], count: int) -> list[PredictedRow]:
    """At most ``count`` rows of batches, evenly spread; none that was erased."""
    present = [
        (entry.ms, batch, row) for entry, batch in batches for row in range(batch.rows) if row not in batch.erased
    ]
    places = np.unique(np.linspace(0, len(present) - 1, min(count, len(present))).astype(np.int64))
    return [PredictedRow(ms, batch.row(row)[0]) for ms, batch, row in (present[place] for place in places.tolist())]

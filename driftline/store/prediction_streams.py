"""Who writes which streams of predictions: a replica that starts goes on in those of one that has ended.

The predictions that an instance keeps then take as many budgets as it has had replicas at a time, and not one more with each
restart.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.prediction_ids import EntryId

CLAIM_SECONDS = 60.0
"""How long a claim lasts after it was renewed."""
SLICES = 32
"""Into so many parts of equal length in time is what a former replica has left divided, to be deleted one by one."""
MODELS_A_LOOK = 1000


class StreamPart(NamedTuple):
    """Some of the entries of a stream: the last of them, and about how many bytes they take in Redis."""

    stream: str
    last: EntryId
    size: int


class PredictionStreams:
    """The streams that this replica writes, one a model: those whose names end with ``nonce``.

    Args:
        keep_seconds: how long after a replica has ended its streams are still there.
    """

    def __init__(self, connection: RedisConnection, keep_seconds: float) -> None:
        self.connection = connection
        self.keep_seconds = keep_seconds
        self.nonce = _new_nonce()
        self._token = secrets.token_hex(16)

    def of(self, uid: str) -> str:
        """The name of a model's stream."""
        return self.connection.keys.of(uid).predictions(self.nonce)

    async def claim(self) -> bool:
        """Makes the streams this replica's, or keeps them so; true if they are others than before.

        That is so at the start, where a replica has ended, and after this one was silent for so long that another has taken
        them over.
        """
        return await self._claim(CLAIM_SECONDS)

    async def release(self) -> None:
        """Leaves them to the next replica."""
        await self._claim(-1.0)

    async def _claim(self, seconds: float) -> bool:
        now, former = self.connection.now(), self.nonce
        times = [f"{at:.3f}" for at in (now, now + seconds, now - self.keep_seconds)]
        keys, arguments = [self.connection.keys.prediction_streams], [*times, former, self._token, _new_nonce()]
        self.nonce = (await self.connection.scripts.run("claim", keys, arguments)).decode()
        return self.nonce != former

    async def told(self) -> dict[str, int]:
        """How many predictions of each model, by its uid, have been recorded in them that sinks are told of."""
        with store_errors():
            found = await self.connection.redis.hgetall(self.connection.keys.told_counts)
        places = ((name.decode().split(":"), int(count)) for name, count in found.items())
        return {uid: count for (uid, nonce), count in places if nonce == self.nonce}

    async def left(self) -> list[StreamPart]:
        """What is in them already, from the oldest."""
        uids = list((await Catalog(self.connection).newest_names()).values())
        found: list[StreamPart] = []
        for start in range(0, len(uids), MODELS_A_LOOK):
            streams = [self.of(uid) for uid in uids[start : start + MODELS_A_LOOK]]
            for stream, size in zip(streams, await self._sizes(streams), strict=True):
                if size:
                    found += await self._parts(stream, size)
        return sorted(found, key=lambda part: part.last)

    async def _sizes(self, streams: Sequence[str]) -> list[int | None]:
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for stream in streams:
                    pipe.memory_usage(stream)
                return list(await pipe.execute())

    async def _parts(self, stream: str, size: int) -> list[StreamPart]:
        with store_errors():
            oldest, newest = (
                await self.connection.redis.xrange(stream, count=1),
                await self.connection.redis.xrevrange(stream, count=1),
            )
        if not oldest or not newest:
            return []
        first, last = EntryId.parse(oldest[0][0]), EntryId.parse(newest[0][0])
        ends = [EntryId(first.ms + (last.ms - first.ms) * number // SLICES, 0) for number in range(1, SLICES)]
        return [StreamPart(stream, end, size // SLICES) for end in (*ends, last)]


def _new_nonce() -> str:
    return secrets.token_hex(4)

"""How much sources have left to read: workers tell it of labels with their heartbeats, apps of rows here."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from driftline.store.connection import RedisConnection, store_errors


class SourceLag(msgspec.Struct, frozen=True):
    """How long ago all that a source held had been taken, and how many records are left; ``model`` is a uid."""

    model: str
    source: str
    seconds: float
    records: int | None = None


class _Told(msgspec.Struct):
    """What was told of the sources of a model, and when, by the clock of Redis."""

    time: float
    lags: list[SourceLag]


class RowLags:
    """What apps tell of the sources of rows that they run. While none runs them, what was told last grows older."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection

    async def tell(self, uid: str, lags: Iterable[SourceLag]) -> None:
        """Stores how the sources of a model do."""
        text = msgspec.json.encode(_Told(self.connection.now(), [*lags]))
        with store_errors():
            await self.connection.redis.hset(self.connection.keys.row_lags, uid, text)

    async def forget(self, uid: str) -> None:
        """Removes what was told of a model that has no sources of rows any more."""
        with store_errors():
            await self.connection.redis.hdel(self.connection.keys.row_lags, uid)

    async def read(self) -> list[SourceLag]:
        """How all of them do now."""
        with store_errors():
            found = await self.connection.redis.hvals(self.connection.keys.row_lags)
        now, lags = self.connection.now(), list[SourceLag]()
        for told in (msgspec.json.decode(text, type=_Told) for text in found):
            age = max(0.0, now - told.time)
            lags += [msgspec.structs.replace(lag, seconds=round(lag.seconds + age, 3)) for lag in told.lags]
        return lags

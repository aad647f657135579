"""Which files a model has learned, and how far: for as long as it lives; the ids of their rows are known for a day only."""

from __future__ import annotations

import msgspec

from driftline.store.connection import RedisConnection, store_errors

MAX_FILES = 1000
"""Files that are remembered; the ones that were imported first are forgotten first."""


class ImportRecord(msgspec.Struct, frozen=True):
    """A file of which the rows from ``first`` to ``row`` are in the log.

    ``is_whole`` says whether that is all of it, ``round`` how often it was imported again before, ``time`` when the last row
    came, in seconds since 1970.
    """

    file: str
    name: str
    first: int
    row: int
    is_whole: bool
    round: int
    time: float


class Imports:
    """The files of the model ``uid``."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.connection = connection
        self.key = connection.keys.of(uid).imports

    async def all(self) -> list[ImportRecord]:
        """Every file, the newest first."""
        with store_errors():
            found = await self.connection.redis.hvals(self.key)
        records = [msgspec.json.decode(text, type=ImportRecord) for text in found]
        return sorted(records, key=lambda record: record.time, reverse=True)

    async def note(self, record: ImportRecord) -> ImportRecord:
        """Remembers how far a file has come; gives it with its time."""
        record = msgspec.structs.replace(record, time=await self.connection.time())
        with store_errors():
            await self.connection.redis.hset(self.key, record.file, msgspec.json.encode(record))
        forgotten = [old.file for old in (await self.all())[MAX_FILES:]]
        if forgotten:
            with store_errors():
                await self.connection.redis.hdel(self.key, *forgotten)
        return record

"""A Redis stream of the user's: each entry is one record, of the fields that it has."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import Field
from redis.exceptions import RedisError, ResponseError

from driftline.errors import Unavailable
from driftline.sources.base import Reader, Source, SourceBatch, SourceGap, SourceRecord
from driftline.sources.formats import encode_fields
from driftline.store.connection import connect
from driftline.store.redis_url import RedisUrl, parse_redis_url

MAX_BLOCK_MS = 1000
"""How long a read waits for the first entry."""


class RedisStream(Source):
    """Reads ``XADD stream * label 1 inputs '[0.1, 0.2]'``; where ``data`` names a field, that one alone, in the ``format``.

    ``start`` is where reading begins at first: ``0`` at the oldest entry, ``$`` at entries that are added from now on.
    """

    type: Literal["redis_stream"] = "redis_stream"
    url: RedisUrl = Field(
        min_length=1, description="`redis://`, `rediss://`, `unix://`, `redis+cluster://` or `redis+sentinel://`"
    )
    stream: str = Field(min_length=1, description="the key of the stream")
    start: str = Field("0", pattern=r"^(\d+(-\d+)?|\$)$", description="where reading begins at first")
    data: str | None = Field(None, min_length=1, description="the field that holds the record; none: the fields are it")

    @property
    def identity(self) -> str:
        found = parse_redis_url(self.url)
        if found.kind == "sentinel":
            return f"redis_stream:{found.place}{found.end.partition('?')[0]}:{self.stream}"
        url = urlsplit(found.url)
        host = url.path if url.scheme == "unix" else f"{url.hostname or 'localhost'}:{url.port or 6379}"
        base = (url.path.strip("/") or "0") if url.scheme != "unix" else "0"
        return f"redis_stream:{host}/{base}:{self.stream}"

    @property
    def former_identity(self) -> str | None:
        return f"redis_stream:{self.stream}"

    @property
    def is_of_bytes(self) -> bool:
        return self.data is not None

    async def open(self) -> Reader:
        return RedisStreamReader(self)


class _Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a stream was read: the newest entry, its digest, and how many had been added up to it.

    ``life`` counts how often the stream was made again; ``deleted`` is the newest entry whose deletion has been told.
    """

    id: str
    added: int | None = None
    mark: str = ""
    life: int = 0
    deleted: str = ""

    @property
    def place(self) -> tuple[int, int]:
        return _numbers(self.id)

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class RedisStreamReader(Reader):
    """Reads entries, and sees by the stream's own counts whether one is missing."""

    def __init__(self, source: RedisStream) -> None:
        self.source = source
        self._redis: Any = connect(source.url)

    async def read(self, position: str, count: int) -> SourceBatch:
        try:
            before = _parsed(position) if position else await self._beginning()
            batch = await self._read(before, count)
            if batch.records or batch.gaps or batch.position != position:
                return batch
            await self._wait(before)
            return batch
        except RedisError as error:
            raise Unavailable(f"the stream {self.source.stream!r} cannot be read: {error}") from error

    async def _wait(self, before: _Position) -> None:
        if await self._redis.exists(self.source.stream):
            await self._redis.xread({self.source.stream: before.id}, 1, MAX_BLOCK_MS)
        else:
            await asyncio.sleep(MAX_BLOCK_MS / 1000)

    async def _beginning(self) -> _Position:
        """Where reading begins. It is stored before anything is read, so that a restart does not choose another place."""
        if self.source.start != "$":
            return _Position(_whole(self.source.start))
        about, newest = await self._look("+", 1, newest_first=True)
        return _Position("0-0") if about is None or not newest else _at(newest[0], about["entries-added"])

    async def _look(
        self, start: str, count: int, newest_first: bool = False
    ) -> tuple[dict[str, Any] | None, list[tuple[bytes, dict[bytes, bytes]]]]:
        """What the stream says of itself, None where there is none, and entries from ``start`` on: of one moment."""
        stream = self.source.stream
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xinfo_stream(stream)
            if newest_first:
                pipe.xrevrange(stream, "+", "-", count)
            else:
                pipe.xrange(stream, start, "+", count)
            about, entries = await pipe.execute(raise_on_error=False)
        if isinstance(about, ResponseError) and "no such key" in str(about):
            return None, []
        for answer in (about, entries):
            if isinstance(answer, Exception):
                raise answer
        told = {_text(name): value for name, value in about.items()}
        return {"entries-added": None, "max-deleted-entry-id": b"0-0"} | told, entries

    async def _read(self, before: _Position, count: int) -> SourceBatch:
        # The entry at the position is read again: it must be the one that was there.
        about, entries = await self._look(before.id, count + 1)
        if about is None:
            return self._gone(before)
        is_there = bool(entries) and _text(entries[0][0]) == before.id
        if self._is_another(before, about, entries, is_there):
            after = _Position("0-0", life=before.life + 1)
            gap = SourceGap(before.id, "0-0", f"the stream {self.source.stream!r} was deleted and made again")
            return SourceBatch([], after.text(), gaps=[gap])
        new = entries[1:] if is_there else entries[:count]
        gaps, deleted = self._gaps(before, about, new, is_there)
        after = before
        if new:
            after = _at(new[-1], None, before.life)
        added = self._added(before, about, new)
        after = msgspec.structs.replace(after, added=added, deleted=deleted)
        records = [self._record(before.life, *entry) for entry in new]
        lag = max(0, about["entries-added"] - added) if added is not None else int(len(new) == count)
        return SourceBatch(records, after.text(), lag=lag, gaps=gaps)

    def _gone(self, before: _Position) -> SourceBatch:
        """There is no stream: that is told where there was one. The next one is another, and is read from its beginning."""
        if before.place == (0, 0) or before.mark == _NONE:
            return SourceBatch([], before.text(), lag=0)
        gap = SourceGap(before.id, "its end", f"the stream {self.source.stream!r} was deleted")
        return SourceBatch([], _Position("0-0", mark=_NONE, life=before.life + 1).text(), lag=0, gaps=[gap])

    def _is_another(self, before: _Position, about: dict[str, Any], entries: list[Any], is_there: bool) -> bool:
        """Whether the stream is not the one that was read: it ends before the position, has other content there, or holds
        more entries after it than were ever added since."""
        if _numbers(_text(about["last-generated-id"])) < before.place:
            return True
        if is_there:
            return bool(before.mark) and before.mark not in (_NONE, _digest(entries[0][1]))
        if before.added is None or about["entries-added"] is None:
            return False
        first = about["first-entry"]
        is_all_after = first is not None and _numbers(_text(first[0])) > before.place
        return int(about["entries-added"]) - before.added < (int(about["length"]) if is_all_after else 0)

    def _gaps(
        self, before: _Position, about: dict[str, Any], new: list[Any], is_there: bool
    ) -> tuple[list[SourceGap], str]:
        """Entries that went before they were read: those that the stream's own counts miss, and those that were deleted."""
        found, deleted = [], before.deleted
        first = about["first-entry"]
        is_all_after = first is None or _numbers(_text(first[0])) > before.place
        newest_deleted = _text(about["max-deleted-entry-id"] or b"0-0")
        if before.added is not None and about["entries-added"] is not None and not is_there and is_all_after:
            missing = about["entries-added"] - before.added - about["length"]
            if missing > 0:
                end = _text(first[0]) if first is not None else "its end"
                what = f"{missing:,} entries of the stream {self.source.stream!r} were trimmed or deleted"
                found.append(SourceGap(before.id, end, what))
                deleted = newest_deleted
        elif _numbers(newest_deleted) > max(before.place, _numbers(deleted or "0-0")):
            what = f"entries of the stream {self.source.stream!r} were deleted"
            found.append(SourceGap(before.id, f"{newest_deleted}, or that one itself", what))
            deleted = newest_deleted
        return found, deleted

    def _added(self, before: _Position, about: dict[str, Any], new: list[Any]) -> int | None:
        """How many entries had been added up to the newest of ``new``: counted from the end, where all of the rest is known,
        else from the beginning."""
        total = about["entries-added"]
        if total is None:
            return None
        last = about["last-entry"]
        if last is None or not new:
            return total if last is None or _numbers(_text(last[0])) <= before.place else before.added
        if _text(new[-1][0]) == _text(last[0]):
            return int(total)
        first = about["first-entry"]
        if first is not None and _text(new[0][0]) == _text(first[0]):
            return int(total) - int(about["length"]) + len(new)
        return None if before.added is None else before.added + len(new)

    def _record(self, life: int, identifier: bytes, fields: dict[bytes, bytes]) -> SourceRecord:
        place = _text(identifier) if not life else f"{life}:{_text(identifier)}"
        if self.source.data is None:
            return SourceRecord(place, encode_fields(fields), "fields")
        return SourceRecord(place, fields.get(self.source.data.encode(), b""), self.source.format)

    async def close(self) -> None:
        await self._redis.aclose()


_NONE = "none"
"""The mark of a position in a stream that is not there."""


def _parsed(position: str) -> _Position:
    """A stored position; a former release stored the id alone."""
    if not position.startswith("{"):
        return _Position(_whole(position))
    return msgspec.json.decode(position, type=_Position)


def _at(entry: tuple[bytes, dict[bytes, bytes]], added: int | None, life: int = 0) -> _Position:
    return _Position(_text(entry[0]), added, _digest(entry[1]), life)


def _digest(fields: dict[bytes, bytes]) -> str:
    return hashlib.sha256(encode_fields(fields)).hexdigest()[:16]


def _whole(identifier: str) -> str:
    return identifier if "-" in identifier else f"{identifier}-0"


def _numbers(identifier: str) -> tuple[int, int]:
    milliseconds, _, sequence = identifier.partition("-")
    return int(milliseconds), int(sequence or 0)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

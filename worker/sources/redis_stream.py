"""A Redis stream of the user's: each entry is one item, with the field names of a feedback item."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from pydantic import Field
from redis.exceptions import RedisError

from driftline.errors import Unavailable
from driftline.ingest.sources import Source, Take
from driftline.store.connection import connect

MAX_ENTRIES, MAX_BLOCK_MS = 200, 1000
"""Most entries of one read, and how long it waits for the first."""


class RedisStream(Source):
    """Reads ``XADD stream * label 1 inputs '[0.1, 0.2]'``. A value that is not JSON is taken as a string.

    ``start`` is where reading begins at first: ``0`` at the oldest entry, ``$`` at entries that are added from now on.
    """

    type: Literal["redis_stream"] = "redis_stream"
    url: str
    stream: str
    start: str = Field("0", pattern=r"^(\d+(-\d+)?|\$)$")

    @property
    def key(self) -> str:
        return f"redis_stream:{self.stream}"

    async def run(self, intake: Take) -> None:
        client: Any = connect(self.url)
        try:
            position = await intake.position() or await self._begin(client, intake)
            while True:
                found = await client.xread({self.stream: position}, MAX_ENTRIES, MAX_BLOCK_MS)
                if not found:
                    intake.tell_lag(is_behind=False)
                    continue
                entries = found[0][1]
                after = entries[-1][0].decode()
                items = [_item(fields) for _, fields in entries]
                ids = [f"s:{self.stream}:{identifier.decode()}" for identifier, _ in entries]
                await intake.take(items, ids, position, after)
                position = after
                intake.tell_lag(is_behind=len(entries) == MAX_ENTRIES)
        except RedisError as error:
            raise Unavailable(f"the stream {self.stream!r} cannot be read: {error}") from error
        finally:
            await client.aclose()

    async def _begin(self, client: Any, intake: Take) -> str:
        """Stores where reading begins, so that a restart does not choose another place."""
        newest = await client.xrevrange(self.stream, "+", "-", 1) if self.start == "$" else []
        position = newest[0][0].decode() if newest else "0-0" if self.start == "$" else self.start
        await intake.take([], [], "", position)
        return position


def _item(fields: dict[bytes, bytes]) -> bytes:
    """An entry's fields as the JSON of a feedback item."""
    return msgspec.json.encode({name.decode(errors="replace"): _value(value) for name, value in fields.items()})


def _value(value: bytes) -> msgspec.Raw | str:
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value.decode(errors="replace")
    return msgspec.Raw(value)

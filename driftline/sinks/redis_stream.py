"""A Redis stream that messages are added to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from redis.exceptions import RedisError

from driftline.errors import Unavailable
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter
from driftline.store.connection import connect
from driftline.store.redis_url import RedisUrl


class RedisStreamSink(Sink):
    """``XADD stream * id … key … data …``, the message under ``data``."""

    type: Literal["redis_stream"] = "redis_stream"
    url: RedisUrl = Field(min_length=1, description="`redis://`, `rediss://`, `unix://` or `redis+cluster://`")
    stream: str = Field(min_length=1, description="the key of the stream")
    max_entries: int | None = Field(None, ge=1, description="about how many of the newest entries are kept; none: all")

    async def open(self) -> SinkWriter:
        return RedisStreamWriter(self)


class RedisStreamWriter(SinkWriter):
    """Adds the entries of a call in one pipeline."""

    def __init__(self, sink: RedisStreamSink) -> None:
        self.sink = sink
        self._redis: Any = connect(sink.url)

    async def write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for message in messages:
                    fields = {"id": message.id, "data": message.value}
                    if message.key is not None:
                        fields["key"] = message.key
                    pipe.xadd(self.sink.stream, fields, maxlen=self.sink.max_entries, approximate=True)
                await pipe.execute()
        except RedisError as error:
            raise Unavailable(f"the stream {self.sink.stream!r} cannot be written: {error}") from error

    async def close(self) -> None:
        await self._redis.aclose()

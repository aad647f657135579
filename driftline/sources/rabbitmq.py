"""A queue or a stream of RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from pydantic import Field

from driftline.errors import Unavailable, told_by
from driftline.sinks.base import hang_up
from driftline.sinks.rabbitmq import connected
from driftline.sources.base import Reader, Source, SourceBatch, SourceGap, SourceRecord, lacks
from driftline.sources.redelivery import QueuePosition, Unacknowledged

MAX_UNACKNOWLEDGED, WAIT_SECONDS, GATHER_SECONDS, LOOK_SECONDS = 1000, 1.0, 0.01, 5.0
"""How many messages the broker sends ahead, those of two reads; how long a read waits for the first, and then for others to
come with it; and how long for one that must be there."""


class RabbitMq(Source):
    """Reads a queue, whose messages are acknowledged once they are stored, or a stream by its offsets."""

    type: Literal["rabbitmq"] = "rabbitmq"
    url: str = Field(pattern=r"^amqps?://", description="`amqp://user:password@host:5672/vhost`")
    queue: str = Field(min_length=1, description="the queue or stream, which is there")
    stream: bool = Field(False, description="whether it is a stream (`x-queue-type: stream`), which keeps what is read")
    start: Literal["first", "new"] = Field("first", description="of a stream: where reading begins at first")

    @property
    def identity(self) -> str:
        url = urlsplit(self.url)
        host = unquote(url.path.removeprefix("/"))
        return f"rabbitmq:{url.hostname}:{url.port or 5672}/{host}:{self.queue}"

    async def open(self) -> Reader:
        connection = await connected(self.url, lacks("aio-pika", "rabbitmq"))
        return StreamReader(self, connection) if self.stream else QueueReader(self, connection)


class RabbitReader(Reader):
    """Consumes one queue over one connection; what ends either is told."""

    def __init__(self, source: RabbitMq, connection: Any) -> None:
        self.source = source
        self.connection = connection
        self.channel: Any = None
        self.queue: Any = None
        self.waiting: asyncio.Queue[Any] = asyncio.Queue()

    async def read(self, position: str, count: int) -> SourceBatch:
        import aio_pika

        try:
            return await self._read(position, count)
        except (TimeoutError, OSError, RuntimeError, aio_pika.exceptions.AMQPError) as error:
            raise Unavailable(f"the queue {self.source.queue!r} cannot be read: {told_by(error)}") from error

    async def _read(self, position: str, count: int) -> SourceBatch:
        raise NotImplementedError

    async def _consume(self, **arguments: Any) -> None:
        if self.channel is not None:
            await self.channel.close()
        self.waiting = asyncio.Queue()
        self.channel = await self.connection.channel()
        await self.channel.set_qos(prefetch_count=MAX_UNACKNOWLEDGED)
        self.queue = await self.channel.get_queue(self.source.queue, ensure=True)
        await self.queue.consume(self.waiting.put, arguments={f"x-{name}": value for name, value in arguments.items()})

    async def _messages(self, count: int, seconds: float = WAIT_SECONDS) -> list[Any]:
        found: list[Any] = []
        with contextlib.suppress(TimeoutError):
            found.append(await asyncio.wait_for(self.waiting.get(), seconds))
            if self.waiting.qsize() < count:
                await asyncio.sleep(GATHER_SECONDS)
        while len(found) < count and not self.waiting.empty():
            found.append(self.waiting.get_nowait())
        return found

    async def _left(self) -> int:
        """How many messages wait; an error where the queue is not there."""
        declared = await self.channel.get_queue(self.source.queue, ensure=True)
        return int(declared.declaration_result.message_count or 0)

    async def close(self) -> None:
        await hang_up(self.connection)


class QueueReader(RabbitReader):
    """Acknowledges messages once they are stored. Until then the broker holds them, and sends them again to who comes next."""

    def __init__(self, source: RabbitMq, connection: Any) -> None:
        super().__init__(source, connection)
        self._unacknowledged = Unacknowledged()

    async def _read(self, position: str, count: int) -> SourceBatch:
        if self.channel is None:
            await self._consume()
        messages = await self._messages(min(count, MAX_UNACKNOWLEDGED // 2))
        left = self.waiting.qsize() + await self._left()
        if not messages:
            return SourceBatch([], position, lag=left)
        at = QueuePosition.parsed(position)
        new, after = at.after([(_digest(each.message_id, each.body), bool(each.redelivered)) for each in messages])
        await self._acknowledge(self._unacknowledged.add(position, after.text() if new else position, messages))
        if not new:
            return SourceBatch([], position, lag=left)
        records = [
            SourceRecord(str(at.count + number), messages[place].body, self.source.format)
            for number, place in enumerate(new, start=1)
        ]
        return SourceBatch(records, after.text(), lag=left)

    async def taken(self, position: str) -> None:
        await self._acknowledge(self._unacknowledged.stored(position))

    async def _acknowledge(self, messages: list[Any]) -> None:
        if messages:
            await messages[-1].ack(multiple=True)


class _Position(msgspec.Struct, omit_defaults=True):
    """The offset of the next message, the digest of the one before it, and how often the stream was made again."""

    offset: int
    mark: str = ""
    life: int = 0

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class StreamReader(RabbitReader):
    """Reads by offsets, and sees by the message before its position whether the stream is the one that was read."""

    _at: str | None = None

    async def _read(self, position: str, count: int) -> SourceBatch:
        gaps: list[SourceGap] = []
        if self._at is None or self._at != position:
            position, gaps = await self._begin(position)
        messages = await self._messages(count)
        left = self.waiting.qsize()
        if not messages:
            await self._left()
            self._at = position
            return SourceBatch([], position, lag=0, gaps=gaps)
        await messages[-1].ack(multiple=True)  # The stream keeps what is read: this lets the broker send more.
        at = msgspec.json.decode(position, type=_Position) if position else _Position(0)
        records = []
        for message in messages:
            offset = _offset(message)
            if offset < at.offset:
                continue
            if at.mark == _UNKNOWN and offset > at.offset:
                gaps.append(
                    self._gap(at.offset, offset, "has kept its messages for less long than they took to be read")
                )
            at = _Position(offset + 1, _digest(None, message.body), at.life)
            place = f"{offset}" if not at.life else f"{at.life}:{offset}"
            records.append(SourceRecord(place, message.body, self.source.format))
        self._at = at.text()
        return SourceBatch(records, self._at, lag=left or (0 if len(messages) < count else None), gaps=gaps)

    async def _begin(self, position: str) -> tuple[str, list[SourceGap]]:
        """Consumes from a position on, after a look at the message before it."""
        if not position:
            await self._consume(**{"stream-offset": "first" if self.source.start == "first" else "next"})
            return position, []
        at = msgspec.json.decode(position, type=_Position)
        if not at.mark or at.mark == _UNKNOWN:
            await self._consume(**{"stream-offset": at.offset})
            return position, []
        await self._consume(**{"stream-offset": at.offset - 1})
        found = await self._messages(1, LOOK_SECONDS)
        if found and _offset(found[0]) == at.offset - 1 and _digest(None, found[0].body) == at.mark:
            await found[0].ack()
            return position, []
        if found and _offset(found[0]) > at.offset - 1:
            # What comes is later: the gap is told with its first message.
            await self._consume(**{"stream-offset": at.offset})
            return _Position(at.offset, _UNKNOWN, at.life).text(), []
        await self._consume(**{"stream-offset": "first"})
        gap = self._gap(at.offset, 0, "was deleted and made again")
        return _Position(0, life=at.life + 1).text(), [gap]

    def _gap(self, start: int, end: int, what: str) -> SourceGap:
        return SourceGap(str(start), str(end), f"the stream {self.source.queue!r} {what}")


_UNKNOWN = "unknown"
"""The mark of a position whose message before is not there."""


def _offset(message: Any) -> int:
    return int(message.headers["x-stream-offset"])


def _digest(identifier: str | None, body: bytes) -> str:
    return hashlib.sha256((identifier or "").encode() + b"\0" + body).hexdigest()[:16]

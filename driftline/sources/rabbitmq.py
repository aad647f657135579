"""A queue or a stream of RabbitMQ."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from pydantic import Field

from driftline.errors import Unavailable, told_by
from driftline.sinks.base import hang_up
from driftline.sources.base import Reader, Source, SourceBatch, SourceGap, SourceRecord, lacks
from driftline.sources.deliveries import Delivery, DeliveryStream, DeliveryTransport
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
        try:
            import aiormq
        except ImportError:
            raise lacks("aio-pika", "rabbitmq") from None
        transport = DeliveryTransport()
        try:
            connection = await asyncio.wait_for(aiormq.connect(self.url, transport_factory=transport), 10)
        except (TimeoutError, OSError, aiormq.AMQPError) as error:
            raise Unavailable(f"RabbitMQ does not answer: {told_by(error)}") from error
        return (StreamReader if self.stream else QueueReader)(self, connection, transport.stream)


class RabbitReader(Reader):
    """Consumes one queue over one connection; what ends either is told.

    Args:
        connection: of aiormq.
        delivered: the messages that come over it.
    """

    def __init__(self, source: RabbitMq, connection: Any, delivered: DeliveryStream) -> None:
        self.source = source
        self.connection = connection
        self.delivered = delivered
        self.channel: Any = None

    async def read(self, position: str, count: int) -> SourceBatch:
        import aiormq

        try:
            return await self._read(position, count)
        except (TimeoutError, OSError, RuntimeError, aiormq.AMQPError) as error:
            raise Unavailable(f"the queue {self.source.queue!r} cannot be read: {told_by(error)}") from error

    async def _read(self, position: str, count: int) -> SourceBatch:
        raise NotImplementedError

    async def _consume(self, **arguments: Any) -> None:
        if self.channel is not None:
            await self.channel.close()
        self.delivered.waiting.clear()
        self.channel = await self.connection.channel(publisher_confirms=False)
        await self.channel.basic_qos(prefetch_count=MAX_UNACKNOWLEDGED)
        await self._left()
        described = {f"x-{name}": value for name, value in arguments.items()}
        await self.channel.basic_consume(self.source.queue, _taken_before, arguments=described)

    async def _messages(self, count: int, seconds: float = WAIT_SECONDS) -> list[Delivery]:
        waiting = self.delivered.waiting
        await self.delivered.wait(seconds)
        if 0 < len(waiting) < count:
            await asyncio.sleep(GATHER_SECONDS)
        return [waiting.popleft() for _ in range(min(count, len(waiting)))]

    async def _acknowledge(self, messages: Sequence[Delivery]) -> None:
        """Acknowledges messages, of which there may be none, and all before them."""
        if messages:
            await self.channel.basic_ack(messages[-1].tag, multiple=True)

    async def _left(self) -> int:
        """How many messages wait; an error where the queue is not there."""
        declared = await self.channel.queue_declare(self.source.queue, passive=True)
        return int(declared.message_count or 0)

    async def close(self) -> None:
        await hang_up(self.connection)


async def _taken_before(message: Any) -> None:
    """What aiormq would call with a message: none comes to it."""
    return None


class QueueReader(RabbitReader):
    """Acknowledges messages once they are stored. Until then the broker holds them, and sends them again to who comes next."""

    def __init__(self, source: RabbitMq, connection: Any, delivered: DeliveryStream) -> None:
        super().__init__(source, connection, delivered)
        self._unacknowledged = Unacknowledged()

    async def _read(self, position: str, count: int) -> SourceBatch:
        if self.channel is None:
            await self._consume()
        messages = await self._messages(min(count, MAX_UNACKNOWLEDGED // 2))
        left = len(self.delivered.waiting) + await self._left()
        if not messages:
            return SourceBatch([], position, lag=left)
        at = QueuePosition.parsed(position)
        new, after = at.after([(_digest(each.body, each.message_id), each.is_redelivered) for each in messages])
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
        left = len(self.delivered.waiting)
        if not messages:
            await self._left()
            self._at = position
            return SourceBatch([], position, lag=0, gaps=gaps)
        await self._acknowledge(messages)  # The stream keeps what is read: this lets the broker send more.
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
            at = _Position(offset + 1, _digest(message.body), at.life)
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
        if found and _offset(found[0]) == at.offset - 1 and _digest(found[0].body) == at.mark:
            await self._acknowledge(found)
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


def _offset(message: Delivery) -> int:
    return int(message.headers["x-stream-offset"])


def _digest(body: bytes, identifier: bytes = b"") -> str:
    return hashlib.sha256(identifier + b"\0" + body).hexdigest()[:16]

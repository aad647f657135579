"""A stream of NATS JetStream."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import Field

from driftline.errors import Unavailable, told_by
from driftline.sinks.base import hang_up
from driftline.sinks.nats import SECONDS, connected
from driftline.sources.base import Reader, Source, SourceBatch, SourceGap, SourceRecord, lacks

MAX_ASKED, ASKED_SECONDS, GATHER_SECONDS = 1000, 30.0, 0.01
"""How many messages are asked for at once, those of two reads; for how long; and how long is waited for others that come with
the first."""
_NO_MORE = ("404", "408")
"""How a server ends what was asked for: there is nothing, or its time is over."""


class NatsStream(Source):
    """Reads a stream by its sequence numbers, all subjects of it or those of one."""

    type: Literal["nats"] = "nats"
    url: str = Field(min_length=1, description="`nats://host:4222`, several with commas between them")
    stream: str = Field(min_length=1, description="the name of the stream")
    subject: str | None = Field(None, min_length=1, description="the subject that is read; none: all of the stream")
    start: Literal["first", "new"] = Field("first", description="where reading begins at first")

    @property
    def identity(self) -> str:
        hosts = sorted(f"{urlsplit(url).hostname}:{urlsplit(url).port or 4222}" for url in self.url.split(","))
        return f"nats:{','.join(hosts)}:{self.stream}:{self.subject or '>'}"

    async def open(self) -> Reader:
        return NatsReader(self, await connected(self.url, lacks("nats-py", "nats")))


class _Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest sequence number that was read, in the stream that was made then, which is the ``life``-th."""

    sequence: int
    created: str = ""
    life: int = 0

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class NatsReader(Reader):
    """Reads by a consumer that is forgotten with the connection: the position is stored with the labels."""

    def __init__(self, source: NatsStream, connection: Any, wait_seconds: float = 1.0) -> None:
        self.source = source
        self.wait_seconds = wait_seconds
        self.connection = connection
        self.stream = connection.jetstream(timeout=SECONDS)
        self._pulled: _Pulled | None = None
        self._at: str | None = None

    async def read(self, position: str, count: int) -> SourceBatch:
        import nats

        try:
            return await self._read(position, count)
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error, OSError) as error:
            raise Unavailable(f"the stream {self.source.stream!r} cannot be read: {told_by(error)}") from error

    async def _read(self, position: str, count: int) -> SourceBatch:
        about = await self.stream.stream_info(self.source.stream)
        created, first, last = str(about.created), about.state.first_seq, about.state.last_seq
        if position:
            at = msgspec.json.decode(position, type=_Position)
        else:
            at = _Position(last if self.source.start == "new" else max(0, first - 1), created)
        gaps = []
        if created != at.created or last < at.sequence:
            gaps.append(self._gap(at.sequence, first, f"the stream {self.source.stream!r} was deleted and made again"))
            at = _Position(max(0, first - 1), created, at.life + 1)
        elif first > at.sequence + 1 and position:
            count_lost = first - at.sequence - 1
            what = f"{count_lost:,} messages of the stream {self.source.stream!r} were removed"
            gaps.append(self._gap(at.sequence, first, what))
            at = msgspec.structs.replace(at, sequence=first - 1)
        if self._pulled is None or self._at != at.text():
            await self._begin(at)
        records, lag, life = [], 0, f"{at.life}:" if at.life else ""
        assert self._pulled is not None
        for message in await self._pulled.messages(count, self.wait_seconds):
            sequence, lag = _numbers(message.reply)
            records.append(SourceRecord(f"{life}{sequence}", message.data, self.source.format))
        if records:
            at = msgspec.structs.replace(at, sequence=sequence)
        self._at = at.text()
        return SourceBatch(records, at.text(), lag=lag, gaps=gaps)

    async def _begin(self, at: _Position) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        if self._pulled is not None:
            await self._pulled.end()
        asked = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=at.sequence + 1,
            ack_policy=AckPolicy.NONE,
            filter_subject=self.source.subject or ">",
            inactive_threshold=300.0,
        )
        consumer = await self.stream.add_consumer(self.source.stream, asked)
        self._pulled = _Pulled(self.connection, f"$JS.API.CONSUMER.MSG.NEXT.{self.source.stream}.{consumer.name}")
        await self._pulled.begin()

    def _gap(self, start: int, end: int, what: str) -> SourceGap:
        return SourceGap(str(start), str(end), what)

    async def close(self) -> None:
        await hang_up(self.connection)


class _Pulled:
    """Messages that a consumer is asked for, many at a time, before somebody wants them.

    The client's own way to fetch them makes two tasks for each message, which cost more than all else that is done with it.

    Args:
        next_subject: whoever publishes to it is sent messages.
    """

    def __init__(self, connection: Any, next_subject: str) -> None:
        self.connection = connection
        self.next_subject = next_subject
        self.inbox = connection.new_inbox()
        self._waiting: deque[Any] = deque()
        self._came = asyncio.Event()
        self._left = 0
        """How many of those that were asked for last have not come."""
        self._failure = ""

    async def begin(self) -> None:
        """Listens for what is sent."""
        self._subscription = await self.connection.subscribe(self.inbox, cb=self._take)

    async def end(self) -> None:
        """What was asked for, and comes later, is nobody's."""
        await self._subscription.unsubscribe()

    async def _take(self, message: Any) -> None:
        if message.reply:
            self._waiting.append(message)
            self._left -= 1
        else:  # The server itself says something.
            told, self._left = message.headers or {}, 0
            if told.get("Status") not in _NO_MORE:
                self._failure = f"{told.get('Status')} {told.get('Description', '')}"
        self._came.set()

    async def messages(self, count: int, seconds: float) -> list[Any]:
        """What there is, ``count`` at most, after a wait for the first."""
        if self._left <= 0 and len(self._waiting) < count:
            self._left = MAX_ASKED
            asked = {"batch": MAX_ASKED, "expires": int(ASKED_SECONDS * 1e9)}
            await self.connection.publish(self.next_subject, msgspec.json.encode(asked), reply=self.inbox)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._waiting and not self._failure:
                    self._came.clear()
                    if not self._left:
                        break  # The next read asks again.
                    await self._came.wait()
        if not self._waiting and self._failure:
            raise Unavailable(f"the consumer was ended: {self._failure}")
        if self._waiting and len(self._waiting) < min(count, 1 + _numbers(self._waiting[0].reply)[1]):
            await asyncio.sleep(GATHER_SECONDS)
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]


def _numbers(reply: str) -> tuple[int, int]:
    """The sequence number of a message in its stream, and how many stand after it: as the subject says by which it would be
    acknowledged, ``$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE…``; of some servers with domain and account before the stream."""
    tokens = reply.split(".")
    first = 2 if len(tokens) == 9 else 4
    return int(tokens[first + 3]), int(tokens[first + 6])

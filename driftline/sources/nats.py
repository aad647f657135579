"""A stream of NATS JetStream."""

from __future__ import annotations

import contextlib
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import Field

from driftline.errors import Unavailable, told_by
from driftline.sinks.base import hang_up
from driftline.sinks.nats import SECONDS, connected
from driftline.sources.base import Reader, Source, SourceBatch, SourceGap, SourceRecord, lacks


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
        self._consumer: Any = None
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
        if self._consumer is None or self._at != at.text():
            await self._begin(at)
        records, lag = [], 0
        for message in await self._messages(count):
            at = msgspec.structs.replace(at, sequence=message.metadata.sequence.stream)
            lag = message.metadata.num_pending
            place = f"{at.sequence}" if not at.life else f"{at.life}:{at.sequence}"
            records.append(SourceRecord(place, message.data, self.source.format))
        self._at = at.text()
        return SourceBatch(records, at.text(), lag=lag, gaps=gaps)

    async def _messages(self, count: int) -> list[Any]:
        """What there is, after a wait for the first, which says how many stand after it: asked for more, the client would wait
        for these as well."""
        messages: list[Any] = []
        # The client raises its own error of this kind, and asyncio's where the server has told of the end of the wait too late.
        with contextlib.suppress(TimeoutError):
            messages += await self._consumer.fetch(1, timeout=self.wait_seconds)
            if more := min(messages[0].metadata.num_pending, count - 1):
                messages += await self._consumer.fetch(more, timeout=self.wait_seconds)
        return messages

    async def _begin(self, at: _Position) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        if self._consumer is not None:
            await self._consumer.unsubscribe()
        asked = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=at.sequence + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=300.0,
        )
        self._consumer = await self.stream.pull_subscribe(
            self.source.subject or ">", stream=self.source.stream, config=asked
        )

    def _gap(self, start: int, end: int, what: str) -> SourceGap:
        return SourceGap(str(start), str(end), what)

    async def close(self) -> None:
        await hang_up(self.connection)

"""A stream of NATS JetStream."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import Field

from driftline.errors import Unavailable
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
        try:
            import nats
        except ImportError:
            raise lacks("nats-py", "nats") from None
        try:
            # One that does not answer is tried again by the runner of sources, which tells of it; here each server twice.
            once = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0.1}
            connection = await nats.connect(self.url.split(","), connect_timeout=5, **once)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise Unavailable(f"NATS does not answer: {str(error) or type(error).__name__}") from error
        return NatsReader(self, connection)


class _Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest sequence number that was read, in the stream that was made then, which is the ``life``-th."""

    sequence: int
    created: str = ""
    life: int = 0

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class NatsReader(Reader):
    """Reads by a consumer that is forgotten with the connection: the position is stored with the labels."""

    def __init__(self, source: NatsStream, connection: Any) -> None:
        self.source = source
        self.connection = connection
        self.stream = connection.jetstream(timeout=5)
        self._consumer: Any = None
        self._at: str | None = None

    async def read(self, position: str, count: int) -> SourceBatch:
        import nats

        try:
            return await self._read(position, count)
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"the stream {self.source.stream!r} cannot be read: {reason}") from error

    async def _read(self, position: str, count: int) -> SourceBatch:
        import nats

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
        messages = []
        with contextlib.suppress(nats.errors.TimeoutError):
            messages = await self._consumer.fetch(count, timeout=1)
        records, lag = [], 0
        for message in messages:
            at = msgspec.structs.replace(at, sequence=message.metadata.sequence.stream)
            lag = message.metadata.num_pending
            place = f"{at.sequence}" if not at.life else f"{at.life}:{at.sequence}"
            records.append(SourceRecord(place, message.data, self.source.format))
        self._at = at.text()
        return SourceBatch(records, at.text(), lag=lag, gaps=gaps)

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
        with contextlib.suppress(Exception):  # What is left of a connection that broke.
            await asyncio.wait_for(self.connection.close(), 5)

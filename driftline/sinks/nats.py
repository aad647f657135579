"""A subject of a NATS JetStream that messages are published to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from driftline.errors import ConfigurationError, Unavailable, told_by
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter, client_is_missing, hang_up

SECONDS = 10.0
"""How long a server may take."""


class NatsSink(Sink):
    """Publishes to a subject of a stream. An id that the stream has had within its window of duplicates, it keeps once."""

    type: Literal["nats"] = "nats"
    url: str = Field(min_length=1, description="`nats://host:4222`, several with commas between them")
    subject: str = Field(min_length=1, description="a subject that a stream holds")

    async def open(self) -> SinkWriter:
        return NatsWriter(self, await connected(self.url, client_is_missing("nats-py", "nats")))


async def connected(url: str, missing: ConfigurationError) -> Any:
    """A connection to NATS, of a sink or of a source.

    Raises:
        ConfigurationError: ``missing``: its client is not installed.
        Unavailable: it does not answer.
    """
    try:
        import nats
    except ImportError:
        raise missing from None
    try:
        # What breaks is told by whoever reads or writes, and begun again by them; here each server is tried twice.
        once = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0.1}
        return await nats.connect(url.split(","), connect_timeout=SECONDS, **once)
    except (TimeoutError, OSError, nats.errors.Error) as error:
        raise Unavailable(f"NATS does not answer: {told_by(error)}") from error


class NatsWriter(SinkWriter):
    """Publishes the messages of a call at once, and waits until the stream holds each."""

    def __init__(self, sink: NatsSink, connection: Any) -> None:
        self.sink = sink
        self.connection = connection
        self.stream = connection.jetstream(timeout=SECONDS)

    async def write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        import nats

        sending = [
            self.stream.publish(self.sink.subject, message.value, headers=_headers(message)) for message in messages
        ]
        try:
            await asyncio.gather(*sending)
        except (TimeoutError, nats.errors.Error, nats.js.errors.Error, OSError) as error:
            raise Unavailable(f"the subject {self.sink.subject!r} cannot be written: {told_by(error)}") from error

    async def close(self) -> None:
        await hang_up(self.connection)


def _headers(message: SinkMessage) -> dict[str, str]:
    return {"Nats-Msg-Id": message.id} | ({} if message.key is None else {"key": message.key})

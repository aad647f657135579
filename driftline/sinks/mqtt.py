"""A topic of an MQTT 5 broker that messages are published to."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from driftline.errors import Unavailable
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter, client_is_missing
from driftline.sinks.mqtt_connection import MqttBroker, MqttConnection


class MqttSink(MqttBroker, Sink):
    """Publishes with quality of service 1; the id and the key are user properties of a message."""

    type: Literal["mqtt"] = "mqtt"
    topic: str = Field(min_length=1, pattern=r"^[^+#]+$", description="the topic")

    async def open(self) -> SinkWriter:
        try:
            return MqttWriter(self, await self.connect(f"driftline-{secrets.token_hex(8)}", clean_start=True))
        except ImportError:
            raise client_is_missing("mqtt5", "mqtt") from None


class MqttWriter(SinkWriter):
    """Publishes, and waits until the broker has acknowledged each message."""

    def __init__(self, sink: MqttSink, connection: MqttConnection) -> None:
        self.sink = sink
        self.connection = connection

    async def write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        try:
            await asyncio.gather(*map(self._publish, messages))
        except Unavailable as error:
            raise Unavailable(f"the topic {self.sink.topic!r} cannot be written: {error.message}") from error

    async def _publish(self, message: SinkMessage) -> None:
        properties = [("id", message.id), *([] if message.key is None else [("key", message.key)])]
        await self.connection.publish(self.sink.topic, message.value, properties)

    async def close(self) -> None:
        await self.connection.close()

"""A topic of an MQTT 5 broker that messages are published to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field

from driftline.errors import Unavailable
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter, client_is_missing
from driftline.spec.registry import Part

SECONDS = 10.0
"""How long the broker may take."""


class MqttBroker(Part):
    """Which broker, of a sink or of a source, and who connects to it."""

    host: str = Field(min_length=1, description="the broker")
    port: int = Field(1883, ge=1, le=65535, description="its port")
    username: str | None = Field(None, description="who connects")
    password: str | None = Field(None, description="of whom connects; never shown")
    tls: bool = Field(False, description="whether the connection is encrypted")

    def client(self, **options: Any) -> Any:
        """A client that is not connected yet; :class:`ImportError` where it is not installed."""
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, **options)
        if self.username:
            client.username_pw_set(self.username, self.password)
        if self.tls:
            client.tls_set()
        return client

    def connect(self, client: Any, **options: Any) -> None:
        """Connects a client, whose thread runs from then on; :class:`Unavailable` where the broker does not answer."""
        try:
            client.connect(self.host, self.port, **options)
        except (OSError, ValueError) as error:
            raise Unavailable(f"the broker {self.host}:{self.port} does not answer: {error}") from error
        client.loop_start()


def disconnect(client: Any) -> None:
    """Ends a client and its thread."""
    client.disconnect()
    client.loop_stop()


class MqttSink(MqttBroker, Sink):
    """Publishes with quality of service 1; the id and the key are user properties of a message."""

    type: Literal["mqtt"] = "mqtt"
    topic: str = Field(min_length=1, pattern=r"^[^+#]+$", description="the topic")

    async def open(self) -> SinkWriter:
        try:
            writer = MqttWriter(self)
        except ImportError:
            raise client_is_missing("paho-mqtt", "mqtt") from None
        try:
            await asyncio.to_thread(self.connect, writer.client)
        except BaseException:
            await writer.close()
            raise
        return writer


class MqttWriter(SinkWriter):
    """Publishes, and waits until the broker has acknowledged each message."""

    def __init__(self, sink: MqttSink) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.sink = sink
        self.properties: Callable[[int], Any] = Properties
        self.kind = PacketTypes.PUBLISH
        self.client = sink.client()

    async def write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        await asyncio.to_thread(self._write, messages)

    def _write(self, messages: Sequence[SinkMessage]) -> None:
        sent = [self._publish(message) for message in messages]
        try:
            for each in sent:
                each.wait_for_publish(SECONDS)
                if not each.is_published():
                    raise RuntimeError(f"a message was not taken within {SECONDS:g} s")
        except (RuntimeError, ValueError) as error:
            raise Unavailable(f"the topic {self.sink.topic!r} cannot be written: {error}") from error

    def _publish(self, message: SinkMessage) -> Any:
        properties = self.properties(self.kind)
        properties.UserProperty = [("id", message.id), *([] if message.key is None else [("key", message.key)])]
        return self.client.publish(self.sink.topic, message.value, qos=1, properties=properties)

    async def close(self) -> None:
        await asyncio.to_thread(disconnect, self.client)

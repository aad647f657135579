"""A topic of an MQTT 5 broker that messages are published to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field

from driftline.errors import Unavailable
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter, client_is_missing

SECONDS = 10.0
"""How long the broker may take."""


class MqttSink(Sink):
    """Publishes with quality of service 1; the id and the key are user properties of a message."""

    type: Literal["mqtt"] = "mqtt"
    host: str = Field(min_length=1, description="the broker")
    port: int = Field(1883, ge=1, le=65535, description="its port")
    topic: str = Field(min_length=1, pattern=r"^[^+#]+$", description="the topic")
    username: str | None = Field(None, description="who writes")
    password: str | None = Field(None, description="of whom writes; never shown")
    tls: bool = Field(False, description="whether the connection is encrypted")

    async def open(self) -> SinkWriter:
        try:
            writer = MqttWriter(self)
        except ImportError:
            raise client_is_missing("paho-mqtt", "mqtt") from None
        try:
            await asyncio.to_thread(writer.connect)
        except BaseException:
            await writer.close()
            raise
        return writer


class MqttWriter(SinkWriter):
    """Publishes, and waits until the broker has acknowledged each message."""

    def __init__(self, sink: MqttSink) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.sink = sink
        self.properties: Callable[[int], Any] = Properties
        self.kind = PacketTypes.PUBLISH
        self.client: Any = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        if sink.username:
            self.client.username_pw_set(sink.username, sink.password)
        if sink.tls:
            self.client.tls_set()

    def connect(self) -> None:
        """Connects; :class:`Unavailable` where the broker does not answer."""
        try:
            self.client.connect(self.sink.host, self.sink.port)
        except (OSError, ValueError) as error:
            raise Unavailable(f"the broker {self.sink.host}:{self.sink.port} does not answer: {error}") from error
        self.client.loop_start()

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
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

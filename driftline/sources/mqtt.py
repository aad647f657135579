"""Topics of an MQTT 5 broker, in a session that outlives the connection."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import queue
import secrets
import time
from typing import Any, Literal

from pydantic import Field

from driftline.errors import Unavailable
from driftline.sinks.mqtt import SECONDS, MqttBroker, disconnect
from driftline.sources.base import Reader, Source, SourceBatch, SourceRecord, lacks
from driftline.sources.redelivery import QueuePosition, Unacknowledged

MAX_UNACKNOWLEDGED, WAIT_SECONDS, GATHER_SECONDS = 1000, 1.0, 0.01
"""How many messages the broker sends ahead, those of two reads; how long a read waits for the first, and then for others to
come with it."""


class Mqtt(MqttBroker, Source):
    """Reads what is published with quality of service 1 or 2 to topics, from when the source was made.

    The broker keeps for the session what comes while nobody reads, as long and as much as it is configured to; what it forgets
    it tells nobody. One that it sends a second time, as after a crash, is known by its content.
    """

    type: Literal["mqtt"] = "mqtt"
    topic: str = Field(min_length=1, description="a topic, or a filter such as `labels/#`")
    session_seconds: int = Field(
        7 * 24 * 3600, ge=1, le=2**32 - 1, description="how long the broker keeps what comes while nobody reads"
    )

    @property
    def identity(self) -> str:
        return f"mqtt:{self.host}:{self.port}:{self.topic}"

    async def open(self) -> Reader:
        try:
            reader = MqttReader(self)
        except ImportError:
            raise lacks("paho-mqtt", "mqtt") from None
        try:
            await asyncio.to_thread(reader.connect)
        except BaseException:
            await reader.close()
            raise
        return reader


class MqttReader(Reader):
    """Acknowledges a message once it is stored. Until then the broker holds it, and sends it again to who comes next."""

    def __init__(self, source: Mqtt) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.source = source
        # Whoever comes under a name that another one has gets its place: one name a model, and a trial has none but its own.
        name = f"{source.identity} {source.session}" if source.session else secrets.token_hex(16)
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        self.client = source.client(client_id=f"driftline-{digest}", manual_ack=True)
        self.client.on_message = lambda client, data, message: self.waiting.put(message)
        self.client.on_connect = self._connected
        self.client.on_disconnect = lambda *rest: self._fail("the connection to the broker is lost")
        self.client.on_subscribe = self._subscribed
        self.waiting: queue.Queue[Any] = queue.Queue()
        self.properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        self.properties.SessionExpiryInterval = source.session_seconds if source.session else 0
        self.properties.ReceiveMaximum = MAX_UNACKNOWLEDGED
        self.failure: str | None = None
        self._is_ready = False
        self._unacknowledged = Unacknowledged()

    def connect(self) -> None:
        """Connects, with the session that was there before."""
        self.source.connect(self.client, clean_start=False, properties=self.properties)
        deadline = time.monotonic() + SECONDS
        while not self._is_ready:
            self._check()
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the broker {self.source.host}:{self.source.port} has not answered within {SECONDS:g} s"
                )
            time.sleep(0.01)

    def _connected(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._fail(f"the broker refuses: {reason}")
        else:
            client.subscribe(self.source.topic, qos=1)

    def _subscribed(self, client: Any, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._fail(f"the broker refuses {self.source.topic!r}: {refused[0]}")
        self._is_ready = True

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason

    def _check(self) -> None:
        if self.failure is not None:
            raise Unavailable(self.failure)

    async def read(self, position: str, count: int) -> SourceBatch:
        return await asyncio.to_thread(self._read, position, min(count, MAX_UNACKNOWLEDGED // 2))

    def _read(self, position: str, count: int) -> SourceBatch:
        at, messages = QueuePosition.parsed(position), self._messages(count)
        new, after = at.after([(_digest(each), each.dup) for each in messages])
        self._acknowledge(self._unacknowledged.add(position, after.text() if new else position, messages))
        if not new:
            self._check()
            return SourceBatch([], position, lag=0)
        records = [
            SourceRecord(str(at.count + number), messages[place].payload, self.source.format)
            for number, place in enumerate(new, start=1)
        ]
        return SourceBatch(records, after.text(), lag=self.waiting.qsize() or (0 if len(messages) < count else None))

    def _messages(self, count: int) -> list[Any]:
        found: list[Any] = []
        with contextlib.suppress(queue.Empty):
            found.append(self.waiting.get(timeout=WAIT_SECONDS))
            end = time.monotonic() + GATHER_SECONDS
            while len(found) < count:
                found.append(self.waiting.get(timeout=max(0.0, end - time.monotonic())))
        return found

    async def taken(self, position: str) -> None:
        self._acknowledge(self._unacknowledged.stored(position))

    def _acknowledge(self, messages: list[Any]) -> None:
        for message in messages:
            self.client.ack(message.mid, message.qos)

    async def close(self) -> None:
        await asyncio.to_thread(disconnect, self.client)


def _digest(message: Any) -> str:
    return hashlib.sha256(f"{message.topic}\0".encode() + message.payload).hexdigest()[:16]

"""Topics of an MQTT 5 broker, in a session that outlives the connection."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import deque
from typing import Any, Literal

from pydantic import Field

from driftline.sinks.mqtt_connection import MqttBroker, MqttConnection
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
        reader = MqttReader(self)
        try:
            await reader.connect()
        except ImportError:
            raise lacks("mqtt5", "mqtt") from None
        except BaseException:
            await reader.close()
            raise
        return reader


class MqttReader(Reader):
    """Acknowledges a message once it is stored. Until then the broker holds it, and sends it again to who comes next."""

    def __init__(self, source: Mqtt) -> None:
        self.source = source
        self.connection: MqttConnection | None = None
        self.waiting: deque[Any] = deque()
        self._came = asyncio.Event()
        self._unacknowledged = Unacknowledged()

    async def connect(self) -> None:
        """Connects, with the session that was there before."""
        session = self.source.session
        # Whoever comes under a name that another one has gets its place: one name a model, and a trial has none but its own.
        name = f"{self.source.identity} {session}" if session else secrets.token_hex(16)
        self.connection = await self.source.connect(
            f"driftline-{hashlib.sha256(name.encode()).hexdigest()[:16]}",
            self._take,
            session_expiry_interval=self.source.session_seconds if session else 0,
            receive_max=MAX_UNACKNOWLEDGED,
        )
        self.connection.on_failure = self._came.set
        await self.connection.subscribe(self.source.topic)

    def _take(self, message: Any) -> None:
        self.waiting.append(message)
        self._came.set()

    async def read(self, position: str, count: int) -> SourceBatch:
        count = min(count, MAX_UNACKNOWLEDGED // 2)
        at, messages = QueuePosition.parsed(position), await self._messages(count)
        new, after = at.after([(_digest(each), each.duplicate) for each in messages])
        self._acknowledge(self._unacknowledged.add(position, after.text() if new else position, messages))
        if not new:
            if not messages:
                self._connected.check()
            return SourceBatch([], position, lag=0)
        records = [
            SourceRecord(str(at.count + number), messages[place].payload, self.source.format)
            for number, place in enumerate(new, start=1)
        ]
        return SourceBatch(records, after.text(), lag=len(self.waiting) or (0 if len(messages) < count else None))

    async def _messages(self, count: int) -> list[Any]:
        """What there is, ``count`` at most, after a wait for the first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while not self.waiting and self._connected.failure is None:
                    self._came.clear()
                    await self._came.wait()
            if len(self.waiting) < count:
                await asyncio.sleep(GATHER_SECONDS)
        return [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]

    @property
    def _connected(self) -> MqttConnection:
        assert self.connection is not None
        return self.connection

    async def taken(self, position: str) -> None:
        self._acknowledge(self._unacknowledged.stored(position))

    def _acknowledge(self, messages: list[Any]) -> None:
        self._connected.acknowledge(messages)

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()


def _digest(message: Any) -> str:
    return hashlib.sha256(f"{message.topic}\0".encode() + message.payload).hexdigest()[:16]

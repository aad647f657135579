"""A topic of Kafka, or of what speaks its protocol, that messages are produced to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import Field

from driftline.errors import Unavailable
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter, client_is_missing

SECONDS = 30.0
"""How long the cluster may take."""
MAX_NOTE_BYTES = 4000
"""A broker takes no longer note beside an offset: of a longer position it is not known whether it was written."""


class KafkaSink(Sink):
    """Produces messages in their order, by an idempotent producer; what has a key goes to the partition of the key.

    ``transactional``: the messages of a batch and the position that they reach are one transaction, so that who reads only what
    is committed sees each message once.
    """

    type: Literal["kafka"] = "kafka"
    servers: str = Field(min_length=1, description="`host:port`, several with commas between them")
    topic: str = Field(min_length=1, description="the topic")
    transactional: bool = Field(False, description="whether each message is seen once by who reads what is committed")
    settings: dict[str, str | int | bool] | None = Field(
        None, description="further settings of librdkafka, such as `sasl.password`; never shown"
    )

    async def open(self) -> SinkWriter:
        try:
            import confluent_kafka
        except ImportError:
            raise client_is_missing("confluent-kafka", "kafka") from None
        writer = KafkaWriter(self, confluent_kafka)
        if self.transactional:
            await writer.begin()
        return writer


class _Note(msgspec.Struct):
    """The positions before and after the newest transaction."""

    before: str
    after: str


class KafkaWriter(SinkWriter):
    """Produces to one topic. Of a transaction the position is a note beside an offset of a group of the writer's own: a cluster
    ends the transactions of who had its name before."""

    def __init__(self, sink: KafkaSink, kafka: Any) -> None:
        self.kafka = kafka
        self.sink = sink
        common = {**(sink.settings or {}), "bootstrap.servers": sink.servers}
        digest = hashlib.sha256(f"{sink.servers}:{sink.topic}:{sink.writer}".encode()).hexdigest()[:16]
        self.group = f"driftline-{digest}"
        own = {"transactional.id": self.group} if sink.transactional else {}
        timeout = {"message.timeout.ms": int(SECONDS * 1000)}
        self.producer = kafka.Producer({**common, "enable.idempotence": True, "linger.ms": 2, **timeout, **own})
        self.consumer: Any = None
        if sink.transactional:
            options = {"group.id": self.group, "enable.auto.commit": False}
            self.consumer = kafka.Consumer({**common, **options})
        self._count = 0

    async def begin(self) -> None:
        """Ends what a former writer has begun, and lets no other write."""
        await self._run(self.producer.init_transactions, SECONDS)

    async def reached(self, position: str) -> str:
        if self.consumer is None:
            return position
        (found,) = await self._run(self.consumer.committed, [self.kafka.TopicPartition(self.sink.topic, 0)], SECONDS)
        self._count = max(0, found.offset)
        if found.offset < 0 or not found.metadata:
            return position
        note = msgspec.json.decode(found.metadata, type=_Note)
        return note.after if note.before == position else position

    async def write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        await self._run(self._write, messages, moved)

    def _write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        failures: list[Any] = []

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                failures.append(error)

        if self.sink.transactional:
            self.producer.begin_transaction()
        for message in messages:
            self._produce(message, delivered)
        left = self.producer.flush(SECONDS)
        if left or failures:
            if self.sink.transactional:
                self.producer.abort_transaction(SECONDS)
            reason = failures[0] if failures else f"{left} messages were not taken within {SECONDS:g} s"
            raise Unavailable(f"the topic {self.sink.topic!r} cannot be written: {reason}")
        if self.sink.transactional:
            self._count += len(messages)
            group = self.consumer.consumer_group_metadata()
            self.producer.send_offsets_to_transaction([self.place(moved)], group, SECONDS)
            self.producer.commit_transaction(SECONDS)

    def _produce(self, message: SinkMessage, delivered: Any) -> None:
        while True:
            try:
                headers = {"id": message.id}
                self.producer.produce(
                    self.sink.topic, message.value, key=message.key, headers=headers, on_delivery=delivered
                )
                self.producer.poll(0)
                return
            except BufferError:
                self.producer.poll(0.1)

    def place(self, moved: Moved) -> Any:
        """The offset, how many messages were written, with the note beside it."""
        note = msgspec.json.encode(_Note(moved.before, moved.after)).decode()
        return self.kafka.TopicPartition(self.sink.topic, 0, self._count, note if len(note) <= MAX_NOTE_BYTES else "")

    async def _run(self, function: Any, *arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *arguments)
        except self.kafka.KafkaException as error:
            raise Unavailable(f"the topic {self.sink.topic!r} cannot be written: {error.args[0]}") from error

    async def close(self) -> None:
        if self.consumer is not None:
            await asyncio.to_thread(self.consumer.close)

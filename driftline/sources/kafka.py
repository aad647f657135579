"""A topic of Kafka, or of what speaks its protocol."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any, Literal

import msgspec
from pydantic import Field

from driftline.errors import Unavailable
from driftline.sources.base import Reader, Source, SourceBatch, SourceGap, SourceRecord, lacks

LOOK_SECONDS, WAIT_SECONDS = 30.0, 1.0
"""How often it looks for new partitions, and how long a read waits."""


class Kafka(Source):
    """Reads all partitions of a topic, each in its order. No group of consumers: the position is stored with the labels."""

    type: Literal["kafka"] = "kafka"
    servers: str = Field(min_length=1, description="`host:port`, several with commas between them")
    topic: str = Field(min_length=1, description="the topic")
    start: Literal["earliest", "latest"] = Field("earliest", description="where reading begins at first")
    settings: dict[str, str | int | bool] | None = Field(
        None, description="further settings of librdkafka, such as `sasl.password`; never shown"
    )

    @property
    def identity(self) -> str:
        return f"kafka:{','.join(sorted(self.servers.split(',')))}:{self.topic}"

    async def open(self) -> Reader:
        try:
            return await asyncio.to_thread(KafkaReader, self)
        except ImportError:
            raise lacks("confluent-kafka", "kafka") from None


class _Partition(msgspec.Struct, omit_defaults=True):
    """The offset of the next record, the digest of the one before it, and how often the partition was made again."""

    offset: int
    mark: str = ""
    life: int = 0


class KafkaReader(Reader):
    """Reads by offsets of its own, and compares them with what the broker has: what it has no more is a gap."""

    def __init__(self, source: Kafka) -> None:
        import confluent_kafka

        self.kafka = confluent_kafka
        self.source = source
        self.consumer = confluent_kafka.Consumer(
            {
                **(source.settings or {}),
                "bootstrap.servers": source.servers,
                "group.id": "driftline",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            }
        )
        self._at: dict[int, _Partition] = {}
        self._seen = ""
        self._looked = -float("inf")
        self._checks: dict[int, str] = {}
        self._stale: set[int] = set()

    async def read(self, position: str, count: int) -> SourceBatch:
        try:
            return await asyncio.to_thread(self._read, position, count)
        except self.kafka.KafkaException as error:
            raise Unavailable(f"the topic {self.source.topic!r} cannot be read: {error.args[0]}") from error

    def _read(self, position: str, count: int) -> SourceBatch:
        gaps: list[SourceGap] = []
        if position != self._seen or not self._at or time.monotonic() - self._looked > LOOK_SECONDS:
            gaps += self._assign(position)
        records = []
        for message in self._messages(count, WAIT_SECONDS if not gaps else 0.1):
            error = message.error()
            if error is None:
                records += self._taken(message, gaps)
            elif error.code() in (self.kafka.KafkaError._AUTO_OFFSET_RESET, self.kafka.KafkaError.OFFSET_OUT_OF_RANGE):
                self._looked = -float("inf")  # The next read looks for what there is.
            elif error.code() != self.kafka.KafkaError._PARTITION_EOF:
                raise self.kafka.KafkaException(error)
        self._seen = msgspec.json.encode({str(key): each for key, each in sorted(self._at.items())}).decode()
        return SourceBatch(records, self._seen, lag=self._lag(), gaps=gaps)

    def _messages(self, count: int, seconds: float) -> list[Any]:
        """What there is, after a wait for the first."""
        first = self.consumer.poll(seconds)
        return [] if first is None else [first, *self.consumer.consume(count - 1, 0.01)]

    def _assign(self, position: str) -> list[SourceGap]:
        """Begins at a position, after a look at what the broker has of each partition."""
        stored = msgspec.json.decode(position, type=dict[str, _Partition]) if position else {}
        topic = self.consumer.list_topics(self.source.topic, timeout=10).topics[self.source.topic]
        if topic.error is not None:
            raise self.kafka.KafkaException(topic.error)
        gaps: list[SourceGap] = []
        self._at, self._checks, self._stale = {}, {}, set()
        begun = []
        for number in sorted(topic.partitions):
            low, high = self._ends(number)
            at = stored.get(str(number))
            if at is None:
                # A partition that came later is read from its beginning.
                at = _Partition(high if self.source.start == "latest" and not stored else low)
            elif at.offset > high:
                gaps.append(self._gap(number, at.offset, low, "was deleted and made again, or its offsets were reset"))
                at = _Partition(low, life=at.life + 1)
            elif at.offset < low:
                gaps.append(
                    self._gap(number, at.offset, low, "has kept its records for less long than they took to be read")
                )
                at = _Partition(low, life=at.life)
            elif at.mark and at.offset > low:
                self._checks[number] = at.mark
            self._at[number] = at
            first = at.offset - (number in self._checks)
            begun.append(self.kafka.TopicPartition(self.source.topic, number, first))
        self.consumer.assign(begun)
        self._looked = time.monotonic()
        return gaps

    def _taken(self, message: Any, gaps: list[SourceGap]) -> list[SourceRecord]:
        number, offset, raw = message.partition(), message.offset(), message.value() or b""
        at, mark = self._at[number], _digest(message.key(), raw)
        if (known := self._checks.pop(number, None)) is not None and offset == at.offset - 1:
            if known == mark:
                return []
            low, _ = self._ends(number)
            gaps.append(self._gap(number, at.offset, low, "was deleted and made again"))
            self._at[number] = _Partition(low, life=at.life + 1)
            # What has come already is from further on: it is read again, from the beginning.
            self._stale.add(number)
            self._looked = -float("inf")
            return []
        if number in self._stale or offset < at.offset:
            return []
        if offset > at.offset and (low := self._ends(number)[0]) > at.offset:
            gaps.append(
                self._gap(number, at.offset, low, "has kept its records for less long than they took to be read")
            )
        self._at[number] = _Partition(offset + 1, mark, at.life)
        place = f"{number}@{offset}" if not at.life else f"{at.life}:{number}@{offset}"
        return [SourceRecord(place, raw, self.source.format)]

    def _gap(self, number: int, start: int, end: int, what: str) -> SourceGap:
        return SourceGap(f"{number}@{start}", f"{number}@{end}", f"partition {number} of {self.source.topic!r} {what}")

    def _ends(self, number: int) -> tuple[int, int]:
        found = self.consumer.get_watermark_offsets(self.kafka.TopicPartition(self.source.topic, number), timeout=10)
        if found is None:
            raise Unavailable(f"the topic {self.source.topic!r} does not answer")
        return int(found[0]), int(found[1])

    def _lag(self) -> int:
        """Records that the broker has told of, and that are not read."""
        left = 0
        for number, at in self._at.items():
            partition = self.kafka.TopicPartition(self.source.topic, number)
            found = self.consumer.get_watermark_offsets(partition, cached=True)
            left += max(0, found[1] - at.offset) if found else 0
        return left

    async def close(self) -> None:
        await asyncio.to_thread(self.consumer.close)


def _digest(key: bytes | None, value: bytes) -> str:
    return hashlib.sha256((key or b"") + b"\0" + value).hexdigest()[:16]

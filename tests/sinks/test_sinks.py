"""Sinks, each with a real broker: what is written is what the source of the same kind reads, in its order, with its ids."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from driftline.errors import ConfigurationError, Unavailable
from driftline.sinks import redis_stream
from driftline.sinks.base import Moved, SinkMessage
from driftline.sinks.kafka import KafkaWriter
from driftline.sinks.registry import SINKS
from driftline.sources.base import Source
from driftline.sources.registry import parse_source
from tests.ports import free_port
from tests.waiting import SECONDS
from tests.worker.test_broker_sources import publish, to_rabbit

pytestmark = pytest.mark.anyio

COUNT = 60


def messages(first: int, count: int) -> list[SinkMessage]:
    return [
        SinkMessage(
            f"id{n}", json.dumps({"record": f"id{n}", "label": n}).encode(), None if n % 7 == 0 else f"key {n % 5}"
        )
        for n in range(first, first + count)
    ]


async def round_trip(described: dict[str, Any], source: Source) -> list[int]:
    """Writes two batches, and reads them by a source that was opened before; the numbers, in their order."""
    reader = await source.open()
    position = (await reader.read("", 500)).position
    writer = await SINKS.parse(described).open()
    try:
        for first in (0, COUNT // 2):
            await writer.write(messages(first, COUNT // 2), Moved(str(first), str(first + COUNT // 2)))
        found: list[int] = []
        for _ in range(60):
            batch = await reader.read(position, 500)
            await reader.taken(batch.position)
            position = batch.position
            found += [json.loads(_data(record.raw, record.format))["label"] for record in batch.records]
            if len(found) >= COUNT:
                break
        return found
    finally:
        await writer.close()
        await reader.close()


def _data(raw: bytes, format: str) -> bytes:
    assert format == "json"
    return raw


async def test_a_redis_stream(embedded: str, prefix: str) -> None:
    stream = f"{prefix}predictions"
    source = parse_source({"type": "redis_stream", "url": embedded, "stream": stream, "data": "data"})
    sink = {"type": "redis_stream", "url": embedded, "stream": stream, "max_entries": 10_000}
    assert await round_trip(sink, source) == [*range(COUNT)]


async def test_messages_that_one_script_would_hold_too_many_of_keep_their_order(
    embedded: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_stream, "MAX_BYTES", 100)
    await test_a_redis_stream(embedded, prefix)


async def test_a_file_whose_last_line_was_cut_off_loses_that_alone(tmp_path: Path) -> None:
    path = tmp_path / "predictions.ndjson"
    source = parse_source({"type": "files", "path": str(path)})
    assert await round_trip({"type": "files", "path": str(path)}, source) == [*range(COUNT)]
    with path.open("a") as file:
        file.write('{"record": "id60", "la')
    writer = await SINKS.parse({"type": "files", "path": str(path)}).open()
    await writer.write(messages(60, 1), Moved("", ""))
    *_, torn, whole = path.read_text().splitlines()
    assert torn == '{"record": "id60", "la' and json.loads(whole)["label"] == 60


@pytest.mark.parametrize("is_transactional", [False, True])
async def test_a_topic_of_kafka(kafka: tuple[Producer, str], is_transactional: bool) -> None:
    producer, servers = kafka
    topic = f"predictions-{is_transactional}"
    producer.list_topics(topic, timeout=SECONDS)
    source = parse_source({"type": "kafka", "servers": servers, "topic": topic})
    sink = {"type": "kafka", "servers": servers, "topic": topic, "transactional": is_transactional}
    assert sorted(await round_trip(sink, source)) == [*range(COUNT)]
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(4)])
    found: list[Any] = []
    for _ in range(60):
        found += [message for message in consumer.consume(COUNT, 1.0) if message.error() is None]
        if len(found) >= COUNT:
            break
    consumer.close()
    ids = {dict(message.headers())["id"].decode(): message for message in found}
    assert ids.keys() == {f"id{n}" for n in range(COUNT)}
    assert ids["id8"].key() == b"key 3" and ids["id7"].key() is None


async def test_what_a_transaction_of_kafka_notes_tells_of_a_position_that_the_store_has_not_learned(
    kafka: tuple[Producer, str],
) -> None:
    producer, servers = kafka
    producer.list_topics("told", timeout=SECONDS)
    writer = await SINKS.parse({"type": "kafka", "servers": servers, "topic": "told", "transactional": True}).open()
    assert isinstance(writer, KafkaWriter)
    assert await writer.reached("") == ""
    await writer.write(messages(0, 5), Moved('{"0": 5}', '{"0": 10}'))
    # The mock cluster takes the offsets of a transaction, and forgets them: they are committed here once more.
    writer.consumer.commit(offsets=[writer.place(Moved('{"0": 5}', '{"0": 10}'))], asynchronous=False)
    assert await writer.reached('{"0": 5}') == '{"0": 10}'
    assert await writer.reached('{"0": 10}') == '{"0": 10}'
    assert await writer.reached("") == ""
    await writer.close()
    # Another writer of the topic ends no transaction of the first, and does not take its place for one of its own.
    other = SINKS.parse({"type": "kafka", "servers": servers, "topic": "told", "transactional": True}).written_by(
        "other"
    )
    found = await other.open()
    assert isinstance(found, KafkaWriter) and found.group != writer.group
    assert await found.reached('{"0": 5}') == '{"0": 5}'
    await found.close()


async def test_a_subject_of_nats_holds_each_id_once(nats_server: str) -> None:
    await publish(nats_server, "predictions", 0, 0)
    source = parse_source({"type": "nats", "url": nats_server, "stream": "predictions"})
    sink = {"type": "nats", "url": nats_server, "subject": "predictions.new"}
    assert sorted(await round_trip(sink, source)) == [*range(COUNT)]
    writer = await SINKS.parse(sink).open()
    await writer.write(messages(0, COUNT), Moved("", ""))
    await writer.close()
    reader = await source.open()
    assert len((await reader.read("", 500)).records) == COUNT
    await reader.close()


async def test_a_subject_that_no_stream_holds_is_an_error(nats_server: str) -> None:
    writer = await SINKS.parse({"type": "nats", "url": nats_server, "subject": "nobody.listens"}).open()
    with pytest.raises(Unavailable, match="nobody"):
        await writer.write(messages(0, 1), Moved("", ""))
    await writer.close()


async def test_a_topic_of_mqtt(mosquitto: int) -> None:
    source = parse_source({"type": "mqtt", "host": "127.0.0.1", "port": mosquitto, "topic": "predictions"})
    sink = {"type": "mqtt", "host": "127.0.0.1", "port": mosquitto, "topic": "predictions"}
    assert await round_trip(sink, source) == [*range(COUNT)]


async def test_a_queue_of_rabbitmq(rabbitmq: str) -> None:
    await to_rabbit(rabbitmq, "predictions", [])
    source = parse_source({"type": "rabbitmq", "url": rabbitmq, "queue": "predictions"})
    sink = {"type": "rabbitmq", "url": rabbitmq, "routing_key": "predictions"}
    assert await round_trip(sink, source) == [*range(COUNT)]
    writer = await SINKS.parse({**sink, "routing_key": "no such queue"}).open()
    with pytest.raises(Unavailable, match="cannot be written"):
        await writer.write(messages(0, 1), Moved("", ""))
    await writer.close()


@pytest.mark.parametrize("type", ["mqtt", "nats", "rabbitmq"])
async def test_a_broker_that_is_not_there_is_told(type: str) -> None:
    port = free_port()
    described: dict[str, dict[str, Any]] = {
        "mqtt": {"host": "127.0.0.1", "port": port, "topic": "t"},
        "nats": {"url": f"nats://127.0.0.1:{port}", "subject": "t"},
        "rabbitmq": {"url": f"amqp://127.0.0.1:{port}", "routing_key": "t"},
    }
    with pytest.raises(Unavailable, match="does not answer"):
        await SINKS.parse({"type": type, **described[type]}).open()


@pytest.mark.parametrize(
    ("type", "package"), [("kafka", "confluent_kafka"), ("nats", "nats"), ("rabbitmq", "aio_pika")]
)
async def test_a_client_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, type: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    described: dict[str, dict[str, Any]] = {
        "kafka": {"servers": "h", "topic": "t"},
        "nats": {"url": "nats://h", "subject": "t"},
        "rabbitmq": {"url": "amqp://h", "routing_key": "t"},
    }
    with pytest.raises(ConfigurationError, match=rf"driftline\[{type}\]"):
        await asyncio.wait_for(SINKS.parse({"type": type, **described[type]}).open(), 10)

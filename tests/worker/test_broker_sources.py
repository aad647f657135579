"""Brokers as sources, each a real one: every record once, in order, over reconnects, and what the broker has lost is told."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from confluent_kafka import Producer

from driftline.records import Item
from driftline.sources.base import SourceRecord
from driftline.sources.nats import NatsReader
from driftline.store.sources import SourceBook
from tests.ports import free_port
from tests.waiting import until_async
from tests.worker.conftest import Bench
from tests.worker.source_reading import alarm_of, labels, made, newest_is, reading, row, told
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio


def item(n: int, label: int = 1) -> bytes:
    return json.dumps({"inputs": row(n % 50), "label": label}).encode()


async def places(store: ModelStore) -> list[str]:
    """The places of all records that were taken, in their order."""
    entries = await store.log.since(1, 5000)
    return [entry.record.id.split(":", 2)[2] for entry in entries]


def produce(producer: Producer, topic: str, first: int, count: int) -> None:
    for n in range(first, first + count):
        producer.produce(topic, item(n), key=str(n % 7))
    producer.flush()


async def test_a_topic_of_kafka_is_read_once_and_in_the_order_of_each_partition(
    bench: Bench, kafka: tuple[Producer, str]
) -> None:
    store, (producer, servers) = await bench.model(), kafka
    source = made(type="kafka", servers=servers, topic="labels")
    produce(producer, "labels", 0, 1500)
    for _ in range(3):
        async with reading(store, source):
            await asyncio.sleep(0.3)
    async with reading(store, source):
        await newest_is(store, 1500)
        produce(producer, "labels", 1500, 100)
        producer.produce("labels", b'{"label": ')
        producer.produce("labels", None, key="a tombstone")
        producer.flush()
        await newest_is(store, 1600)
        await told(store, state="running", refused=2)
    found = await places(store)
    assert len(found) == len(set(found)) == 1600
    for partition in {place.partition("@")[0] for place in found}:
        offsets = [int(place.partition("@")[2]) for place in found if place.startswith(f"{partition}@")]
        assert offsets == sorted(offsets)
    assert len(await SourceBook(store.connection, store.uid).dead()) == 2


async def test_offsets_that_a_topic_has_no_more_are_a_gap_and_reading_goes_on(
    bench: Bench, kafka: tuple[Producer, str]
) -> None:
    store, (producer, servers) = await bench.model(), kafka
    source = made(type="kafka", servers=servers, topic="reset")
    produce(producer, "reset", 0, 20)
    beyond = {str(partition): {"offset": 1000} for partition in range(4)}
    await bench.connection.redis.hset(store.keys.sources, source.identity, json.dumps(beyond))
    async with reading(store, source):
        await newest_is(store, 20)
        assert "offsets were reset" in await alarm_of(store, "source_gap")


async def test_another_record_before_the_position_is_another_topic(bench: Bench, kafka: tuple[Producer, str]) -> None:
    store, (producer, servers) = await bench.model(), kafka
    source = made(type="kafka", servers=servers, topic="again")
    for n in range(10):
        producer.produce("again", item(n), partition=0)
    producer.flush()
    other = {"0": {"offset": 5, "mark": "0" * 16}}
    await bench.connection.redis.hset(store.keys.sources, source.identity, json.dumps(other))
    async with reading(store, source):
        await newest_is(store, 10)
        assert "made again" in await alarm_of(store, "source_gap")


async def test_a_cluster_that_is_not_there_fails_and_the_worker_goes_on(bench: Bench) -> None:
    store = await bench.model()
    source = made(type="kafka", servers=f"127.0.0.1:{free_port()}", topic="labels", settings={"log_level": 0})
    async with reading(store, source):
        await told(store, state="failing")


async def publish(url: str, stream: str, first: int, count: int, again: bool = False, **options: Any) -> None:
    import nats

    connection = await nats.connect(url)
    try:
        jetstream = connection.jetstream()
        if again:
            await jetstream.delete_stream(stream)
        await jetstream.add_stream(name=stream, subjects=[f"{stream}.>"], **options)
        for n in range(first, first + count):
            await jetstream.publish(f"{stream}.{'even' if n % 2 == 0 else 'odd'}", item(n, label=int(again)))
    finally:
        await connection.close()


async def test_a_stream_of_nats_is_read_once_and_one_that_is_made_again_is_a_gap(
    bench: Bench, nats_server: str
) -> None:
    store = await bench.model()
    source = made(type="nats", url=nats_server, stream="labels")
    await publish(nats_server, "labels", 0, 300)
    for _ in range(2):
        async with reading(store, source):
            await asyncio.sleep(0.1)
    async with reading(store, source):
        await newest_is(store, 300)
        await publish(nats_server, "labels", 300, 20)
        await newest_is(store, 320)
        await publish(nats_server, "labels", 0, 5, again=True)
        await newest_is(store, 325)
        assert "made again" in await alarm_of(store, "source_gap")
    found = await places(store)
    assert found[:320] == [str(n) for n in range(1, 321)]
    assert (await labels(store))[320:] == [1] * 5


async def test_messages_of_nats_that_went_before_they_were_read_are_counted(bench: Bench, nats_server: str) -> None:
    store = await bench.model()
    source = made(type="nats", url=nats_server, stream="short")
    await publish(nats_server, "short", 0, 10, max_msgs=50)
    async with reading(store, source):
        await newest_is(store, 10)
    await publish(nats_server, "short", 10, 100, max_msgs=50)
    async with reading(store, source):
        await newest_is(store, 60)
        assert "50 messages" in await alarm_of(store, "source_gap")


async def test_one_subject_of_a_stream_is_read_without_the_others(bench: Bench, nats_server: str) -> None:
    store = await bench.model()
    await publish(nats_server, "mixed", 0, 20)
    async with reading(store, made(type="nats", url=nats_server, stream="mixed", subject="mixed.odd")):
        await newest_is(store, 10)
        state = await told(store, state="running")
    assert not state.gaps
    assert await places(store) == [str(n) for n in range(2, 21, 2)]


async def test_an_empty_stream_of_nats_is_no_failure_where_the_machine_is_too_busy_to_hear_so_in_time(
    nats_server: str,
) -> None:
    await publish(nats_server, "idle", 0, 0)
    reader = await made(type="nats", url=nats_server, stream="idle").open()
    assert isinstance(reader, NatsReader)
    reader.wait_seconds = 0.1
    try:
        position = (await reader.read("", 500)).position
        for _ in range(3):
            asyncio.get_running_loop().call_later(0, time.sleep, 0.2)
            assert (await reader.read(position, 500)).records == []
        await publish(nats_server, "idle", 0, 3)
        found: list[SourceRecord] = []
        while len(found) < 3:
            batch = await reader.read(position, 500)
            found, position = [*found, *batch.records], batch.position
        assert [record.place for record in found] == ["1", "2", "3"] and batch.lag == 0
    finally:
        await reader.close()


async def test_a_server_of_nats_that_is_not_there_fails(bench: Bench) -> None:
    store = await bench.model()
    async with reading(store, made(type="nats", url=f"nats://127.0.0.1:{free_port()}", stream="labels")):
        assert "does not answer" in await alarm_of(store, "source")


async def test_rows_of_postgresql_are_read_by_a_moment(bench: Bench, postgres: str) -> None:
    import psycopg

    store = await bench.model(inputs={"fields": {"amount": "number", "paid": "boolean"}}, classes=["no", "yes"])
    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE orders (decided TIMESTAMPTZ, amount NUMERIC(8, 2), paid BOOLEAN, bought TEXT, id UUID)"
        )
        insert = (
            "INSERT INTO orders SELECT now() + n * interval '1 microsecond', n / 4.0, mod(n, 3) = 0, "
            "CASE WHEN mod(n, 2) = 0 THEN 'no' ELSE 'yes' END, gen_random_uuid() FROM generate_series(%s::int, %s::int) AS n"
        )
        connection.execute(insert, (1, 1200))
        mapping = {"label": "bought", "id": "id", "time": "decided"}
        source = made(type="sql", url=postgres, table="orders", cursor="decided", poll_seconds=0.05, mapping=mapping)
        async with reading(store, source):
            await newest_is(store, 1200)
            connection.execute(insert, (5001, 5010))
            await newest_is(store, 1210)
            connection.execute("ALTER TABLE orders RENAME COLUMN bought TO sold")
            connection.execute(insert.replace("bought", "sold"), (9001, 9001))
            await told(store, state="running", refused=1)
    first = (await store.log.read(0, 1))[0].record
    assert isinstance(first, Item) and first.label == "yes" and first.time is not None


def send(port: int, topic: str, items: list[bytes]) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for each in [client.publish(topic, payload, qos=1) for payload in items]:
        each.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


async def test_messages_of_mqtt_are_taken_once_also_those_that_come_while_nobody_reads(
    bench: Bench, mosquitto: int
) -> None:
    store = await bench.model()
    source = made(type="mqtt", host="127.0.0.1", port=mosquitto, topic="labels/#")
    async with reading(store, source):
        await told(store, state="running")
        await asyncio.to_thread(send, mosquitto, "labels/a", [item(n) for n in range(150)])
        await newest_is(store, 150)
    await asyncio.to_thread(send, mosquitto, "labels/b", [*(item(n, label=0) for n in range(99)), b"no label"])
    async with reading(store, source):
        await newest_is(store, 249)
        await told(store, state="running", refused=1)
    assert await labels(store) == [1] * 150 + [0] * 99


async def test_a_message_of_mqtt_that_was_stored_and_not_acknowledged_is_not_taken_again(
    bench: Bench, mosquitto: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from driftline.sources.mqtt import MqttReader

    store = await bench.model()
    source = made(type="mqtt", host="127.0.0.1", port=mosquitto, topic="crash")

    async def dies(self: MqttReader, position: str) -> None:
        self._connected.writer.transport.abort()  # As a process that is killed leaves it: without a word.
        raise ConnectionError("killed")

    async with reading(store, source):
        await told(store, state="running")
    await asyncio.to_thread(send, mosquitto, "crash", [item(n) for n in range(20)])
    with monkeypatch.context() as patched:
        patched.setattr(MqttReader, "taken", dies)
        async with reading(store, source):
            await until_async(store.log.newest)
    await asyncio.to_thread(send, mosquitto, "crash", [item(n) for n in range(20, 30)])
    async with reading(store, source):
        await newest_is(store, 30)
        await asyncio.to_thread(send, mosquitto, "crash", [item(30)])
        await newest_is(store, 31)
    assert await store.log.newest() == 31


async def test_models_that_read_one_topic_of_mqtt_have_it_each_whole_and_a_trial_takes_nothing_from_them(
    bench: Bench, mosquitto: int
) -> None:
    stores, source = (
        [await bench.model("one"), await bench.model("other")],
        made(type="mqtt", host="127.0.0.1", port=mosquitto, topic="shared"),
    )
    async with reading(stores[0], source), reading(stores[1], source):
        for store in stores:
            await told(store, state="running")
        trial = await source.open()
        await asyncio.to_thread(send, mosquitto, "shared", [item(n) for n in range(50)])
        assert (await trial.read("", 10)).records
        await trial.close()
        await asyncio.to_thread(send, mosquitto, "shared", [item(n) for n in range(50, 100)])
        for store in stores:
            await newest_is(store, 100)
            await told(store, state="running", gaps=[])


async def to_rabbit(url: str, queue: str, items: list[bytes], again: bool = False, **arguments: Any) -> None:
    import aio_pika

    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        if again:
            await channel.queue_delete(queue)
        options = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        await channel.declare_queue(queue, durable=True, arguments=options)
        persistent = aio_pika.DeliveryMode.PERSISTENT
        send = channel.default_exchange.publish
        messages = [aio_pika.Message(payload, delivery_mode=persistent) for payload in items]
        for first in range(0, len(messages), 500):
            await asyncio.gather(*(send(message, queue) for message in messages[first : first + 500]))


async def test_messages_of_a_queue_of_rabbitmq_are_taken_once(bench: Bench, rabbitmq: str) -> None:
    store = await bench.model()
    source = made(type="rabbitmq", url=rabbitmq, queue="labels")
    await to_rabbit(rabbitmq, "labels", [item(n) for n in range(150)])
    async with reading(store, source):
        await newest_is(store, 150)
    await to_rabbit(rabbitmq, "labels", [*(item(n, label=0) for n in range(99)), b"no label"])
    async with reading(store, source):
        await newest_is(store, 249)
        await told(store, state="running", refused=1, lag_records=0)
    assert await labels(store) == [1] * 150 + [0] * 99


async def test_a_message_of_rabbitmq_that_was_stored_and_not_acknowledged_is_not_taken_again(
    bench: Bench, rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from driftline.sources.rabbitmq import QueueReader

    store = await bench.model()
    source = made(type="rabbitmq", url=rabbitmq, queue="crash")

    async def dies(self: QueueReader, position: str) -> None:
        raise ConnectionError("killed")

    await to_rabbit(rabbitmq, "crash", [item(n) for n in range(20)])
    with monkeypatch.context() as patched:
        patched.setattr(QueueReader, "taken", dies)
        async with reading(store, source):
            await until_async(store.log.newest)
    await to_rabbit(rabbitmq, "crash", [item(n, label=0) for n in range(20, 30)])
    async with reading(store, source):
        await newest_is(store, 30)
        await to_rabbit(rabbitmq, "crash", [item(30)])
        await newest_is(store, 31)
    assert await labels(store) == [1] * 20 + [0] * 10 + [1]


async def test_a_queue_is_told_of_what_is_stored_and_not_of_what_was_read_ahead(mosquitto: int, rabbitmq: str) -> None:
    mqtt = made(type="mqtt", host="127.0.0.1", port=mosquitto, topic="ahead").in_session("a model")
    await (await mqtt.open()).close()
    await asyncio.to_thread(send, mosquitto, "ahead", [b"%d" % n for n in range(9)])
    await to_rabbit(rabbitmq, "ahead", [b"%d" % n for n in range(9)])
    for source in (mqtt, made(type="rabbitmq", url=rabbitmq, queue="ahead")):
        reader = await source.open()
        first = await reader.read("", 3)
        ahead = await reader.read(first.position, 3)
        await reader.taken(first.position)
        await reader.close()
        assert [record.raw for record in ahead.records] == [b"3", b"4", b"5"]
        position, found, reader = first.position, list[bytes](), await source.open()
        while len(found) < 6:
            batch = await reader.read(position, 3)
            position, found = batch.position, found + [record.raw for record in batch.records]
            await reader.taken(position)
        await reader.close()
        assert found == [b"%d" % n for n in range(3, 9)]


async def test_a_stream_of_rabbitmq_is_read_by_offsets_and_one_that_is_made_again_is_a_gap(
    bench: Bench, rabbitmq: str
) -> None:
    store = await bench.model()
    source = made(type="rabbitmq", url=rabbitmq, queue="kept", stream=True)
    await to_rabbit(rabbitmq, "kept", [item(n) for n in range(120)], queue_type="stream")
    for _ in range(2):
        async with reading(store, source):
            await asyncio.sleep(0.1)
    async with reading(store, source):
        await newest_is(store, 120)
        await to_rabbit(rabbitmq, "kept", [item(n) for n in range(120, 130)], queue_type="stream")
        await newest_is(store, 130)
    assert await places(store) == [str(n) for n in range(130)]
    await to_rabbit(rabbitmq, "kept", [item(n, label=0) for n in range(5)], again=True, queue_type="stream")
    async with reading(store, source):
        await newest_is(store, 135)
        assert "made again" in await alarm_of(store, "source_gap")
    assert (await labels(store))[130:] == [0] * 5


async def test_a_queue_of_rabbitmq_that_is_not_there_fails_and_is_read_when_it_is(bench: Bench, rabbitmq: str) -> None:
    store = await bench.model()
    async with reading(store, made(type="rabbitmq", url=rabbitmq, queue="later")):
        assert "cannot be read" in await alarm_of(store, "source")
        await to_rabbit(rabbitmq, "later", [item(0)])
        await newest_is(store, 1)
        await told(store, state="running")

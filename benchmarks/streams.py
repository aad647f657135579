"""How many labels a second each kind of source takes, against the same labels over HTTP; how soon a label is served; and how
many rows a second are answered from a stream into a stream, against calls of predict, with a key each: all in one run.

While rates are measured nothing is learned: it is the way into the log that is. The sources of labels run in this process, as
in a worker. Brokers that the machine does not have are left out. Beside each rate stands the processor time that a label
takes of the process that takes it in, the app or the worker, which other work on the machine changes little; the store's and
the broker's is not in it.

python -m benchmarks.streams [LABELS] [--only rates served infer] [--kinds redis_stream …] [--per-second 2]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import numpy as np
from confluent_kafka import Producer

from driftline.client.clients import AsyncClient
from driftline.errors import NotFound
from driftline.processes import instance
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.sources.base import Source
from driftline.sources.registry import parse_source
from driftline.store.connection import RedisConnection
from driftline.support.tasks import Troubles
from tests.brokers import RabbitMqServer, start_mosquitto, start_nats
from tests.ports import free_port
from tests.services import spec
from tests.worker.conftest import Bench
from tests.worker.test_broker_sources import send, to_rabbit
from worker.sources.keeper import label_sources

Items = list[dict[str, Any]]
COLUMNS = [*"abcdefgh"]


class Taken(NamedTuple):
    """Labels or rows a second, and the seconds of processor time that one takes of who takes it."""

    rate: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.rate:10,.0f} a second, {1e6 * self.cpu:6.0f} µs of processor time each"


async def over_http(items: Items) -> Taken:
    """Of ``Client.feedback``, four calls of 500 at a time, to a server whose model is paused."""
    with instance.up(note=lambda line: None) as url:
        async with AsyncClient(url) as client:
            await client.create_model(spec())
            await client.pause("weather")
            await client.feedback("weather", items[:500])
            batches = [items[at : at + 500] for at in range(500, len(items), 500)]
            begun, cpu = time.monotonic(), await app_seconds(url)
            for first in range(0, len(batches), 4):
                await asyncio.gather(*(client.feedback("weather", batch) for batch in batches[first : first + 4]))
            taken = time.monotonic() - begun
            count = len(items) - 500
            return Taken(count / taken, (await app_seconds(url) - cpu) / count)


async def app_seconds(url: str) -> float:
    """The processor time that the app has taken."""
    async with httpx.AsyncClient() as client:
        lines = (await client.get(f"{url}/metrics")).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("process_cpu_seconds_total"))


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory() as folder, Guard() as guard, ThreadPoolExecutor(1) as thread:
        server = EmbeddedServer(Path(folder), guard)
        server.start()
        connection = RedisConnection(server.url, "bench:")
        yield Bench(connection, server.url, thread, Path(folder))
        await connection.close()
        server.stop()


async def by_source(found: Bench, source: Source, count: int) -> Taken:
    """From the first label that is taken to the last."""
    store = await found.model(source.type, uid_of(source.type))
    sources = label_sources(store, {"bench": source}, Troubles())
    await sources.apply({})
    while not (first := await store.log.newest()):
        await asyncio.sleep(0.005)
    begun, cpu = time.monotonic(), time.process_time()
    while await store.log.newest() < count:
        await asyncio.sleep(0.02)
    taken, cpu = time.monotonic() - begun, time.process_time() - cpu
    await sources.close()
    return Taken((count - first) / taken, cpu / (count - first))


def uid_of(kind: str) -> str:
    """That of the model which a source of a kind is read for."""
    return hashlib.sha256(kind.encode()).hexdigest()[:12]


async def of_store(found: Bench, items: Items) -> Source:
    """A Redis stream of the labels."""
    async with found.connection.redis.pipeline(transaction=False) as pipe:
        for each in items:
            pipe.xadd("labels", {"inputs": json.dumps(each["inputs"]), "label": each["label"]})
        await pipe.execute()
    return parse_source({"type": "redis_stream", "url": found.url, "stream": "labels"})


def of_file(folder: Path, texts: list[bytes]) -> Source:
    path = folder / "labels.ndjson"
    path.write_bytes(b"\n".join(texts) + b"\n")
    return parse_source({"type": "files", "path": str(path)})


def of_table(folder: Path, items: Items) -> Source:
    path = folder / "labels.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE labels (id INTEGER PRIMARY KEY, label INTEGER, {', '.join(COLUMNS)})")
        marks = ", ".join("?" * (1 + len(COLUMNS)))
        rows = [(each["label"], *each["inputs"]) for each in items]
        connection.executemany(f"INSERT INTO labels (label, {', '.join(COLUMNS)}) VALUES ({marks})", rows)
    mapping = {"inputs": f"[{', '.join(COLUMNS)}]", "label": "label"}
    described = {"type": "sql", "url": f"sqlite:///{path}", "table": "labels", "cursor": "id", "mapping": mapping}
    return parse_source(described)


def of_kafka(producer: Producer, texts: list[bytes]) -> Source:
    broker = next(iter(producer.list_topics(timeout=20).brokers.values()))
    for each in texts:
        producer.produce("labels", each)
    producer.flush()
    return parse_source({"type": "kafka", "servers": f"{broker.host}:{broker.port}", "topic": "labels"})


async def of_nats(port: int, texts: list[bytes]) -> Source:
    import nats

    connection = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = connection.jetstream()
    await stream.add_stream(name="labels", subjects=["labels"])
    for first in range(0, len(texts), 500):
        await asyncio.gather(*(stream.publish("labels", each) for each in texts[first : first + 500]))
    await connection.close()
    return parse_source({"type": "nats", "url": f"nats://127.0.0.1:{port}", "stream": "labels"})


async def of_mqtt(port: int, texts: list[bytes]) -> Source:
    source = parse_source({"type": "mqtt", "host": "127.0.0.1", "port": port, "topic": "labels"})
    await (await source.in_session(uid_of("mqtt")).open()).close()  # The session is there before anything is published.
    await asyncio.to_thread(send, port, "labels", texts)
    return source


async def of_rabbit(url: str, texts: list[bytes]) -> Source:
    await to_rabbit(url, "labels", texts)
    return parse_source({"type": "rabbitmq", "url": url, "queue": "labels"})


async def sources(found: Bench, folder: Path, items: Items, kinds: Collection[str]) -> AsyncIterator[Source]:
    """A source of each kind, each with all the labels in it."""
    texts = [json.dumps(each).encode() for each in items]
    if "redis_stream" in kinds:
        yield await of_store(found, items)
    if "files" in kinds:
        yield of_file(folder, texts)
    if "kafka" in kinds:
        # A mock cluster of librdkafka, which lives as long as its producer.
        settings = {"test.mock.num.brokers": 1, "bootstrap.servers": "none", "queue.buffering.max.messages": 10**6}
        producer = Producer(settings)
        yield of_kafka(producer, texts)
    if "sql" in kinds:
        yield of_table(folder, items)
    with Guard() as guard:
        if "nats" in kinds and shutil.which("nats-server"):
            port = free_port()
            start_nats(guard, folder, port)
            yield await of_nats(port, texts)
        if "mqtt" in kinds and shutil.which("mosquitto"):
            port = free_port()
            start_mosquitto(guard, folder, port)
            yield await of_mqtt(port, texts)
        if "rabbitmq" in kinds and Path("/usr/lib/rabbitmq/bin/rabbitmq-server").exists():
            server = RabbitMqServer(guard, folder, free_port())
            server.start()
            yield await of_rabbit(server.url, texts)
            server.close()


@asynccontextmanager
async def running() -> AsyncIterator[tuple[AsyncClient, str, Any, str]]:
    """A client of an instance and its address, and the store that it shares with the streams and its address."""
    async with bench() as found:
        with instance.up(note=lambda line: None, DRIFTLINE_REDIS_URL=found.url) as url:
            async with AsyncClient(url) as client:
                yield client, url, found.connection.redis, found.url


async def served_after(per_second: float, count: int = 60) -> list[float]:
    """Seconds from when a label is in a Redis stream to when the live version covers it, as an instance serves and learns them;
    labels come one by one, as often as ``per_second`` says, at moments by chance."""
    rng = np.random.default_rng(1)
    async with running() as (client, _, redis, store):
        await client.create_model(spec())
        await client.make_source("weather", {"type": "redis_stream", "name": "s", "url": store, "stream": "labels"})

        async def delay(n: int) -> float:
            row, begun = rng.normal(size=8), time.monotonic()
            fields = {"id": f"label {n}", "inputs": json.dumps(row.tolist()), "label": int(row[0] > 0)}
            await redis.xadd("labels", fields)
            while not await is_served(client, f"label {n}"):
                await asyncio.sleep(0.005)
            return time.monotonic() - begun

        await delay(-1)  # All is there.
        async with asyncio.TaskGroup() as group:
            delays = []
            for n in range(count):
                await asyncio.sleep(rng.exponential(1 / per_second))
                delays.append(group.create_task(delay(n)))
    return [each.result() for each in delays]


async def is_served(client: AsyncClient, item: str) -> bool:
    try:
        return (await client.receipt("weather", item))["state"] == "served"
    except NotFound:
        return False


async def predicted(items: Items) -> tuple[Taken, Taken]:
    """Rows of ``Client.predict``, four calls of 128 at a time, and from a Redis stream into another, with a key each."""
    rows = [each["inputs"] for each in items]
    async with running() as (client, url, redis, store):
        await client.create_model(spec())
        for _ in range(20):
            await client.predict("weather", rows[:128])
        parts = [slice(first, first + 128) for first in range(0, len(rows), 128)]
        keys = [f"row {n}" for n in range(len(rows))]
        begun, cpu = time.monotonic(), await app_seconds(url)
        for first in range(0, len(parts), 4):
            some = parts[first : first + 4]
            await asyncio.gather(*(client.predict("weather", rows[part], keys=keys[part]) for part in some))
        seconds = time.monotonic() - begun
        called = Taken(len(rows) / seconds, (await app_seconds(url) - cpu) / len(rows))
        async with redis.pipeline(transaction=False) as pipe:
            for key, row in zip(keys, rows, strict=True):
                pipe.xadd("rows", {"inputs": json.dumps(row), "key": key})
            await pipe.execute()
        sink = {"type": "redis_stream", "url": store, "stream": "predictions"}
        source = {"type": "redis_stream", "name": "s", "url": store, "stream": "rows", "mode": "infer", "sink": sink}
        begun, cpu = time.monotonic(), await app_seconds(url)
        await client.make_source("weather", source)
        while not (first := await redis.xlen("predictions")):
            await asyncio.sleep(0.005)
        begun = time.monotonic()
        while await redis.xlen("predictions") < len(rows):
            await asyncio.sleep(0.005)
        seconds = time.monotonic() - begun
        return called, Taken((len(rows) - first) / seconds, (await app_seconds(url) - cpu) / len(rows))


async def rates(count: int, kinds: Collection[str]) -> None:
    items = items_of(count)
    http = await over_http(items)
    print(f"{'HTTP':<14}{http}")
    with tempfile.TemporaryDirectory() as folder:
        async with bench() as found:
            async for source in sources(found, Path(folder), items, kinds):
                taken = await by_source(found, source, count)
                print(f"{source.type:<14}{taken}: {compared(taken, http)} of HTTP", flush=True)


def compared(one: Taken, other: Taken) -> str:
    """The rate of one as a share of the other's, and how much less of a processor it takes."""
    return f"{one.rate / other.rate:.2f} and {other.cpu / one.cpu:.2f}"


async def served(per_second: float) -> None:
    p50, p95, worst = (1000 * float(each) for each in np.quantile(await served_after(per_second), (0.5, 0.95, 1.0)))
    print(
        f"{per_second:g} labels a second in a stream are served after {p50:.0f} ms (p95 {p95:.0f}, worst {worst:.0f})"
    )


async def infer(count: int) -> None:
    called, streamed = await predicted(items_of(count))
    print(f"{'predict':<14}{called}")
    print(f"{'infer':<14}{streamed}: {compared(streamed, called)} of predict")


def items_of(count: int) -> Items:
    rng = np.random.default_rng(0)
    return [{"inputs": row.tolist(), "label": int(row[0] > 0)} for row in rng.normal(size=(count, 8))]


KINDS = ("redis_stream", "files", "kafka", "sql", "nats", "mqtt", "rabbitmq")


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("labels", type=int, nargs="?", default=20_000)
    parser.add_argument("--only", nargs="+", choices=("rates", "served", "infer"), default=["rates", "served", "infer"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--per-second", type=float, default=2.0, help="labels a second of those that are served")
    asked = parser.parse_args()
    if "rates" in asked.only:
        await rates(asked.labels, asked.kinds)
    if "served" in asked.only:
        await served(asked.per_second)
    if "infer" in asked.only:
        await infer(asked.labels)


if __name__ == "__main__":
    asyncio.run(main())

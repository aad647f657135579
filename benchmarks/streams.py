"""How many labels a second each kind of source takes, against the same labels over HTTP, in one run of one Driftline's parts.

Nothing is learned meanwhile: it is the way into the log that is measured. The sources run in this process, as in a worker.

python -m benchmarks.streams [LABELS]
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from confluent_kafka import Producer

from driftline.client.clients import AsyncClient
from driftline.processes import instance
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.sources.base import Source
from driftline.sources.registry import parse_source
from driftline.store.connection import RedisConnection
from driftline.support.tasks import Troubles
from tests.services import spec
from tests.worker.conftest import Bench
from worker.sources.keeper import label_sources

Items = list[dict[str, Any]]


async def over_http(items: Items) -> float:
    """Labels a second of ``Client.feedback``, four calls of 500 at a time, to a server whose model is paused."""
    with instance.up(note=lambda line: None) as url:
        async with AsyncClient(url) as client:
            await client.create_model(spec())
            await client.pause("weather")
            await client.feedback("weather", items[:500])
            begun, batches = time.monotonic(), [items[at : at + 500] for at in range(500, len(items), 500)]
            for first in range(0, len(batches), 4):
                await asyncio.gather(*(client.feedback("weather", batch) for batch in batches[first : first + 4]))
            return (len(items) - 500) / (time.monotonic() - begun)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory() as folder, Guard() as guard, ThreadPoolExecutor(1) as thread:
        server = EmbeddedServer(Path(folder), guard)
        server.start()
        connection = RedisConnection(server.url, "bench:")
        yield Bench(connection, server.url, thread, Path(folder))
        await connection.close()
        server.stop()


async def by_source(found: Bench, source: Source, count: int) -> float:
    """Labels a second from the first that is taken to the last."""
    store = await found.model(f"m{found.owners}")
    found.owners += 1
    sources = label_sources(store, {"bench": source}, Troubles())
    begun = time.monotonic()
    await sources.apply({})
    while await store.log.newest() < count:
        await asyncio.sleep(0.01)
    taken = time.monotonic() - begun
    await sources.close()
    return count / taken


async def fill(found: Bench, producer: Producer, items: Items, folder: Path) -> dict[str, dict[str, Any]]:
    """The labels in a stream, a file and a topic."""
    async with found.connection.redis.pipeline(transaction=False) as pipe:
        for each in items:
            pipe.xadd("labels", {"inputs": json.dumps(each["inputs"]), "label": each["label"]})
        await pipe.execute()
    path = folder / "labels.ndjson"
    path.write_text("".join(json.dumps(each) + "\n" for each in items))
    broker = next(iter(producer.list_topics(timeout=20).brokers.values()))
    for each in items:
        producer.produce("labels", json.dumps(each))
    producer.flush()
    return {
        "redis_stream": {"url": found.url, "stream": "labels"},
        "files": {"path": str(path)},
        "kafka": {"servers": f"{broker.host}:{broker.port}", "topic": "labels"},
    }


async def main(count: int) -> None:
    rng = np.random.default_rng(0)
    items: Items = [{"inputs": row.tolist(), "label": int(row[0] > 0)} for row in rng.normal(size=(count, 8))]
    http = await over_http(items)
    print(f"{'HTTP':<14}{http:10,.0f} labels a second")
    # A mock cluster of librdkafka, which lives as long as its producer.
    settings = {"test.mock.num.brokers": 1, "bootstrap.servers": "none", "queue.buffering.max.messages": 10**6}
    producer = Producer(settings)
    with tempfile.TemporaryDirectory() as folder:
        async with bench() as found:
            for kind, described in (await fill(found, producer, items, Path(folder))).items():
                rate = await by_source(found, parse_source({"type": kind, **described}), count)
                print(f"{kind:<14}{rate:10,.0f} labels a second, {rate / http:.2f} of HTTP")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))

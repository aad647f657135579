"""The user's own stream: each entry learned once, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from driftline.errors import ConfigurationError
from driftline.ingest.sources import Source
from driftline.support.tasks import end
from tests.waiting import until_async
from tests.worker.conftest import Bench
from worker.model_store import ModelStore
from worker.sources import parse_sources
from worker.sources.intake import Intake

pytestmark = pytest.mark.anyio

STREAM = "labels"


def source(bench: Bench, **changes: Any) -> Source:
    stream = bench.connection.keys.prefix + STREAM
    described = {"type": "redis_stream", "model": "weather", "url": bench.url, "stream": stream} | changes
    (found,) = parse_sources(json.dumps([described]))
    return found


async def add(bench: Bench, count: int, first: int = 0, **fields: Any) -> None:
    async with bench.connection.redis.pipeline() as pipe:
        for n in range(first, first + count):
            row = np.random.default_rng(n).normal(size=8)
            entry = {"inputs": json.dumps(row.tolist()), "label": int(row[0] > 0)} | fields
            pipe.xadd(bench.connection.keys.prefix + STREAM, entry)
        await pipe.execute()


@asynccontextmanager
async def reading(store: ModelStore, found: Source) -> AsyncIterator[Intake]:
    intake = Intake(store, found.key)
    task = asyncio.create_task(intake.run(found))
    try:
        yield intake
    finally:
        await end(task)


async def newest_is(store: ModelStore, count: int) -> None:
    async def has_come() -> bool:
        return await store.log.newest() >= count

    await until_async(has_come)


async def alarm_of(store: ModelStore) -> bytes:
    """The alarm of its source."""
    return await until_async(lambda: store.connection.redis.hget(store.keys.alarms, "source"))


async def test_each_entry_is_learned_once(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 450)
    async with reading(store, source(bench)):
        await newest_is(store, 450)
        await add(bench, 50, first=450)
        await newest_is(store, 500)
    trainer = await bench.train(store)
    assert trainer.head.learned == 500


async def test_a_reader_that_dies_anywhere_reads_nothing_twice(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 1000)
    for _ in range(5):
        async with reading(store, source(bench)):
            await asyncio.sleep(0.02)
    async with reading(store, source(bench)):
        await newest_is(store, 1000)
        await asyncio.sleep(0.1)
    assert await store.log.newest() == 1000
    entries = await store.log.read(0, 1000)
    assert len({entry.record.id for entry in entries}) == 1000


async def test_two_readers_at_once_take_each_entry_once(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 1000)
    async with reading(store, source(bench)), reading(store, source(bench)):
        await newest_is(store, 1000)
        await asyncio.sleep(0.2)
    assert await store.log.newest() == 1000


async def test_an_entry_that_does_not_fit_is_passed_over_and_told(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 3)
    await add(bench, 1, first=3, label=7)
    await add(bench, 1, first=4, inputs="[1, 2")
    await add(bench, 2, first=5)
    async with reading(store, source(bench)):
        await newest_is(store, 5)
        alarm = await alarm_of(store)
    assert "2 entries refused" in json.loads(alarm)["message"]


async def test_a_start_at_the_end_stays_where_it_was_first_fixed(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 10)
    async with reading(store, source(bench, start="$")) as intake:
        await until_async(intake.position)
    await add(bench, 5, first=10)
    async with reading(store, source(bench, start="$")):
        await newest_is(store, 5)
    assert await store.log.newest() == 5


async def test_a_stream_that_cannot_be_read_is_an_alarm_and_is_tried_again(bench: Bench) -> None:
    store = await bench.model()
    async with reading(store, source(bench, url="redis://127.0.0.1:1/0")):
        await alarm_of(store)


@pytest.mark.parametrize(
    "text",
    ["{}", "[", '[{"type": "kafkaesque"}]', '[{"type": "redis_stream", "model": "X"}]', "@/nowhere.json"],
)
def test_a_setting_that_names_no_source_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match="DRIFTLINE_SOURCES"):
        parse_sources(text)

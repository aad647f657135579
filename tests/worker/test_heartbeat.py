"""What a worker tells of itself: that it is there, what it computes, how busy it is, and how often it was started again."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from driftline.store.connection import RedisConnection
from driftline.store.workers import Heartbeat, Workers
from driftline.version import __version__
from tests.waiting import until_async
from tests.worker.conftest import Bench
from tests.worker.running import working
from worker.compute import ComputeMeter, ModelCompute
from worker.heartbeat import Heart

pytestmark = pytest.mark.anyio


async def test_a_worker_is_listed_while_it_runs_and_not_after_it_has_ended_in_order(bench: Bench) -> None:
    workers = Workers(bench.connection)
    async with working(bench, worker_id="mine"):
        (beat,) = await until_async(workers.read)
        assert (beat.id, beat.pid, beat.version, beat.restarts) == ("mine", os.getpid(), __version__, 0)
        assert beat.host and beat.started <= beat.time <= await bench.connection.time()
    assert await workers.read() == []


async def test_one_that_did_not_end_in_order_was_restarted(connection: RedisConnection) -> None:
    workers = Workers(connection)
    for restarts in range(3):
        heart = asyncio.create_task(Heart(connection, "mine", ComputeMeter()).run())

        async def has_begun(expected: int = restarts) -> bool:
            return any(beat.restarts == expected for beat in await workers.read())

        await until_async(has_begun)
        heart.cancel()


async def test_a_heart_goes_on_beating(connection: RedisConnection) -> None:
    workers = Workers(connection)
    heart = asyncio.create_task(Heart(connection, "mine", ComputeMeter(), beat_seconds=0.01).run())
    (first,) = await until_async(workers.read)

    async def has_beaten_again() -> bool:
        return (await workers.read())[0].time > first.time

    await until_async(has_beaten_again)
    heart.cancel()


async def test_it_tells_what_the_compute_thread_is_at(connection: RedisConnection, thread: ThreadPoolExecutor) -> None:
    meter, is_over = ComputeMeter(), threading.Event()
    assert meter.current() is None
    computing = asyncio.create_task(ModelCompute(thread, "abc", meter=meter)(is_over.wait))
    uid, before = await until_async(meter.current)
    heart = asyncio.create_task(Heart(connection, "mine", meter).run())
    (beat,) = await until_async(Workers(connection).read)
    assert uid == beat.computes_for == "abc" and beat.computing_seconds >= round(before, 3)
    is_over.set()
    await computing
    assert meter.current() is None
    heart.cancel()


def test_the_load_is_the_share_of_the_time_that_was_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("worker.compute.time.monotonic", lambda: now)
    meter = ComputeMeter(window_seconds=0.0)
    now += 1
    meter.load()
    now += 1
    with meter.of("abc"):
        now += 3
        assert meter.load() == pytest.approx(0.75)
    now += 5
    assert meter.load() == 0


async def test_one_that_has_long_been_silent_is_no_longer_told_of_and_then_removed(
    connection: RedisConnection,
) -> None:
    workers = Workers(connection, keep_seconds=60)
    now = await connection.time()
    for name, age in (("new", 1), ("old", 100)):
        await workers.beat(Heartbeat(name, "host", 1, "1", now - 1000, now - age))
    assert [beat.id for beat in await workers.read()] == ["new"]
    assert await workers.former("old") is not None
    await workers.remove_lost()
    assert await workers.former("old") is None and await workers.former("new") is not None

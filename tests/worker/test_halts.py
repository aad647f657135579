"""A log that is not whole halts its trainer, which says so once, learns nothing past it, and goes on when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import pytest

from driftline.errors import Unavailable
from driftline.records import Command
from driftline.store.connection import HighWatermarks, RedisConnection
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import alarms, training, until_alarm, until_learned, until_withdrawn
from worker.model_store import ModelStore
from worker.trainer import Trainer

pytestmark = pytest.mark.anyio


async def test_a_gap_halts_it_and_stops_feedback_until_the_log_is_whole(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    store = await bench.model()
    redis = store.connection.redis
    async with training(bench, store) as trainer:
        await store.log.append(labelled(64))
        await until_learned(store, trainer, 64)
        await until_async(lambda: bench.is_done(trainer))
        with looking_away(trainer):
            await store.log.append(labelled(64, first=64))
            whole = await redis.dump(store.keys.log)
            await redis.xdel(store.keys.log, "100-0")
        assert "99 to 101" in await until_alarm(store, trainer, "log_gap")
        for record in (labelled(1, first=500)[0], Command("c", "pause")):
            with pytest.raises(Unavailable) as refused:
                await store.log.append([record])
            assert refused.value.code == "log_gap"
        await asyncio.sleep(0.2)
        assert trainer.is_halted and (await store.commit_log.head()).learned == 64
        assert sum("is halted" in record.message for record in caplog.records) == 1, "it says so once"
        await redis.restore(store.keys.log, 0, whole, replace=True)
        await until_learned(store, trainer, 128)
        await until_withdrawn(store, "log_gap")
        assert [receipt.status for receipt in await store.log.append(labelled(1, first=500))] == ["queued"]
        await until_learned(store, trainer, 128)
    assert not [
        record for record in caplog.records if record.levelno >= logging.ERROR and "is halted" not in record.message
    ]


@contextlib.contextmanager
def looking_away(trainer: Trainer):  # type: ignore[no-untyped-def]
    """The trainer does not look meanwhile."""
    look = trainer.store.log.read

    async def nothing(*_: object) -> list[object]:
        return []

    trainer.store.log.read = nothing  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        trainer.store.log.read = look  # type: ignore[method-assign]


async def test_a_command_that_the_log_lacks_halts_it(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append([Command("c", "pause")])
    await store.connection.redis.hset(store.keys.head, "offset", 1)
    await store.connection.redis.xdel(store.keys.log, "1-0")
    async with training(bench, store) as trainer:
        message = await until_alarm(store, trainer, "log_gap")
        assert "lacks the command 1" in message and "driftline doctor" in message
        await store.connection.redis.zrem(store.keys.pending, 1)
        await until_withdrawn(store, "log_gap")
    assert not trainer.is_halted


async def copy(store: ModelStore) -> dict[str, bytes]:
    redis = store.connection.redis
    names = [
        store.keys.log,
        store.keys.last,
        store.keys.head,
        store.keys.steps,
        store.keys.versions,
        store.keys.coverage,
    ]
    return {name: data for name in names if (data := await redis.dump(name))}


async def put_back(connection: RedisConnection, saved: dict[str, bytes]) -> None:
    async with connection.redis.pipeline(transaction=True) as pipe:
        for name, data in saved.items():
            pipe.restore(name, 0, data, replace=True)
        await pipe.execute()


async def learn_and_lose(bench: Bench, store: ModelStore, trainer: Trainer, saved: dict[str, bytes]) -> None:
    """Learns records 65 to 128, of which the store then knows nothing any more."""
    await store.log.append(labelled(64, first=64))
    await until_learned(store, trainer, 128)
    await until_async(lambda: bench.is_done(trainer))
    await put_back(store.connection, saved)


async def test_an_older_copy_of_the_store_halts_it_until_it_is_started_again(
    bench: Bench,
) -> None:
    bench.connection.ends.unsettled_seconds = 0.0
    store = await bench.model()
    await store.connection.server.state()
    await store.log.append(labelled(64))
    await bench.train(store)
    saved = await copy(store)
    async with training(bench, store) as trainer:
        await learn_and_lose(bench, store, trainer, saved)
        message = await until_alarm(store, trainer, "store_lost")
        assert "record 64" in message and "record 128" in message and "restart Driftline" in message
        with pytest.raises(Unavailable):
            await store.log.append(labelled(1, first=500))
        assert (await store.commit_log.head()).learned == 64, "nothing is made up"
    store.connection.ends = HighWatermarks(store.connection.server)  # As in a process that has just started.
    async with training(bench, store) as trainer:
        await until_withdrawn(store, "store_lost")
        await store.log.append(labelled(64, first=200))
        await until_learned(store, trainer, 128)


async def test_a_store_that_lost_its_last_writes_is_followed_and_told(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(64))
    await bench.train(store)
    saved = await copy(store)
    async with training(bench, store) as trainer:
        await learn_and_lose(bench, store, trainer, saved)
        message = await until_alarm(store, trainer, "writes_lost")
        assert "record 64" in message and "record 128" in message
        await store.log.append(labelled(64, first=200))
        await until_learned(store, trainer, 128)
        assert (await store.commit_log.head()).offset == 128


async def test_an_older_copy_that_was_restored_while_nothing_ran_is_told_by_the_files(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(64))
    await bench.train(store)
    assert await alarms(store) == {}
    saved = await copy(store)
    await store.log.append(labelled(320, first=64))
    await bench.train(store)
    steps = (await store.commit_log.head()).step
    await put_back(store.connection, saved)
    store.connection.ends = HighWatermarks(store.connection.server)
    async with training(bench, store) as trainer:
        message = await until_alarm(store, trainer, "store_older")
        assert f"step {steps}" in message and "send them again" in message
        await store.log.append(labelled(64, first=500))
        await until_learned(store, trainer, 128)


async def test_an_alarm_of_an_owner_before_is_withdrawn_when_its_condition_is_over(bench: Bench) -> None:
    store = await bench.model()
    for kind in ("disk", "trainer_failed", "step_failed"):
        await store.alarm(kind, "before")
    async with training(bench, store):
        await until_withdrawn(store, "disk")
        await until_withdrawn(store, "trainer_failed")
        assert list(await alarms(store)) == ["step_failed"]


async def test_an_outage_does_not_hold_up_the_versions_after_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing takes a tenth of the trainer's time at most; to wait for a store is no part of it."""
    store = await bench.model()
    write, failures, outage = store.version_files.write_version, [True], 2

    def failing(*arguments: object) -> object:
        if failures:
            failures.pop()
            raise Unavailable("no room", code="disk", retry_after=outage)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store.version_files, "write_version", failing)
    async with training(bench, store) as trainer:
        begin = time.monotonic()
        await store.log.append(labelled(40))
        await until_learned(store, trainer, 40)
        now = time.monotonic()
        assert not failures and trainer.schedule.publishing.due_at - now < 9 * (now - begin - outage) + 1

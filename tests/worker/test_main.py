"""A worker process, without its process: which models it owns, and which files it takes away."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from driftline.errors import ConfigurationError
from driftline.store.catalog import Catalog, LogEnd
from driftline.store.lease import Lease
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import is_learned, working

pytestmark = pytest.mark.anyio


async def test_a_helper_that_raises_is_restarted_and_told_and_the_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await bench.model()
    ends, left = Catalog.log_ends, [ValueError("no luck"), ValueError("no luck")]

    async def failing(self: Catalog, uids: list[str]) -> dict[str, LogEnd]:
        if uids and left:
            raise left.pop()
        return await ends(self, uids)

    monkeypatch.setattr(Catalog, "log_ends", failing)
    async with working(bench) as worker:
        await until_async(lambda: not left)
        assert list(worker.troubles.current()) == ["polling the logs"]
        await store.log.append(labelled(64))
        await until_async(lambda: is_learned(store))
        assert await store.connection.redis.hexists(store.keys.alarms, "worker_task_failed")
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in logged] == ["polling the logs failed, and is restarted: ValueError: no luck"]


async def test_a_wrong_setting_ends_the_worker_all_the_same(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(self: Catalog) -> dict[str, str]:
        raise ConfigurationError("no such thing")

    monkeypatch.setattr(Catalog, "names", wrong)
    with pytest.raises(ConfigurationError):
        async with working(bench) as worker:
            await until_async(lambda: is_shut(worker.threads))


def is_shut(thread: ThreadPoolExecutor) -> bool:
    try:
        thread.submit(int)
    except RuntimeError:
        return True
    return False


async def test_a_lost_head_is_an_alarm_and_costs_no_file(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    store = await bench.model()
    await store.log.append(labelled(64))
    folder = store.artifacts.root / store.uid
    async with working(bench):
        await until_async(lambda: is_learned(store))
    await store.connection.redis.delete(store.keys.head)
    before = {path.name for path in folder.iterdir()}
    async with working(bench, retry_seconds=0.05):
        await until_async(lambda: store.connection.redis.hexists(store.keys.alarms, "store_lost"))
        await asyncio.sleep(1.0)
    assert caplog.text.count("cannot be learned: the store has lost the head") == 1, "it is said once"
    assert {path.name for path in folder.iterdir()} == before


async def test_an_emptied_store_costs_no_file(bench: Bench) -> None:
    store = await bench.model()
    folder = store.artifacts.root / store.uid
    before = {path.name for path in folder.iterdir()}
    async with working(bench) as worker:
        await until_async(lambda: worker.owned)
        keys = [key async for key in store.connection.redis.scan_iter(f"{store.connection.keys.prefix}*")]
        await store.connection.redis.delete(*keys)
        await asyncio.sleep(1.5)
    assert {path.name for path in folder.iterdir()} == before


async def test_the_files_of_a_deleted_model_and_of_one_that_never_came_to_be_go(bench: Bench) -> None:
    store, kept = await bench.model("deleted"), await bench.model("kept")
    bench.artifacts.put("0123456789ab", b"weights")
    await Catalog(bench.connection).delete("deleted")
    folders = bench.artifacts.root

    async def is_clean() -> bool:
        return {path.name for path in folders.iterdir() if path.is_dir()} == {kept.uid}

    async with working(bench):
        await until_async(is_clean)
    del store


async def test_the_keys_of_a_model_that_never_came_to_be_go(bench: Bench) -> None:
    left, keys = "0123456789ab", bench.connection.keys
    await bench.model("kept")
    await bench.connection.redis.hset(keys.of(left).meta, "name", "never")
    await bench.connection.redis.zadd(keys.unnamed, {left: await bench.connection.time()})

    async def is_clean() -> bool:
        return not await bench.connection.redis.exists(keys.of(left).meta, keys.unnamed)

    async with working(bench):
        await until_async(is_clean)


async def test_two_workers_that_start_at_once_learn_each_label_once(bench: Bench) -> None:
    stores = [await bench.model(f"model{number}") for number in range(4)]
    for store in stores:
        await store.log.append(labelled(64))
    async with working(bench) as first, working(bench) as second:
        for store in stores:
            await until_async(partial(is_learned, store))
        # One that has just been given up is nobody's for a moment.
        await until_async(lambda: len(first.owned) + len(second.owned) == len(stores))
        for store in stores:
            assert await store.connection.redis.hlen(store.keys.alarms) == 0


async def test_a_disk_that_takes_seconds_to_sync_costs_no_lease(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await bench.model()
    await store.log.append(labelled(64))
    slow = iter([10.0])
    sync = os.fsync

    def slow_sync(file: int) -> None:
        time.sleep(next(slow, 0))
        sync(file)

    monkeypatch.setattr("driftline.store.artifacts.os.fsync", slow_sync)
    caplog.set_level(logging.INFO, "driftline.worker")
    async with working(bench, lease_seconds=8), working(bench, lease_seconds=8):
        await until_async(lambda: is_learned(store))
        assert list(slow) == [], "the disk was slow"
        # The one that has begun first gives the model up, where it is the other's by the placement of both.
        takings = 1 + caplog.text.count("is given to worker")
        assert int(await store.connection.redis.get(store.keys.epoch) or 0) <= takings, "no other worker has taken over"
    assert "is lost" not in caplog.text and "another owner" not in caplog.text


async def test_a_worker_that_is_started_again_under_its_name_does_not_wait_for_its_lease(bench: Bench) -> None:
    store = await bench.model()
    assert await Lease(bench.connection, store.uid, "named").acquire()
    await store.log.append(labelled(64))
    async with working(bench, worker_id="named"):
        await until_async(lambda: is_learned(store))


async def test_models_are_learned_as_they_come_and_their_leases_given_back(bench: Bench) -> None:
    first = await bench.model("first")
    await first.log.append(labelled(64))
    async with working(bench):
        await until_async(lambda: is_learned(first))
        second = await bench.model("second")
        await second.log.append(labelled(64))
        await until_async(lambda: is_learned(second))
    for store in (first, second):
        assert await store.connection.redis.get(store.keys.lease) is None
        head = await store.commit_log.head()
        assert head.checkpoint is not None and head.checkpoint.step == head.step

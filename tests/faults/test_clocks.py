"""A clock that is set, by an hour and more, on the app's machine, the worker's, or that of Redis: nothing is lost or waits."""

from __future__ import annotations

import time

import pytest

from driftline.store.connection import RedisConnection
from driftline.store.prediction_batches import PredictionBatch
from driftline.store.predictions import PredictionReader, PredictionWriter
from driftline.store.workers import Workers
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import training, until_learned, working
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio

HOUR = 3600.0
JUMPS = [HOUR, -HOUR, 48 * HOUR, -48 * HOUR]


class Clock:
    """The clock of this machine, which a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set_by = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.set_by)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("jump", JUMPS)
async def test_predictions_made_before_and_after_a_jump_are_joined_with_their_labels(
    bench: Bench, clock: Clock, jump: float
) -> None:
    store = await bench.model()
    await bench.connection.time()
    prediction_writer = PredictionWriter(bench.connection, horizon=24 * HOUR, budget=2**20)
    entries = []
    for set_by in (0.0, jump, 0.0):
        clock.set_by = set_by
        entries.append(prediction_writer.next_entry())
        prediction_writer.record(store.uid, entries[-1], PredictionBatch(1, "live", 1, {"inputs": b"12"}, b"1234", [1]))
        await prediction_writer.flush()
    assert entries == sorted(entries) and entries[-1].ms - entries[0].ms < 60_000
    ids = [prediction_writer.prefix(store.uid, entry) + "0" for entry in entries]
    found = await PredictionReader(bench.connection, store.uid, 24 * HOUR).find(ids)
    assert all(isinstance(found[text], tuple) for text in ids), found
    assert prediction_writer.dropped == 0


@pytest.mark.parametrize("jump", JUMPS)
async def test_labels_after_a_jump_of_the_workers_clock_are_learned_in_order_and_in_time(
    bench: Bench, clock: Clock, jump: float
) -> None:
    store = await bench.model(recipe={"trigger": {"labels": 1000, "seconds": 0.3}})
    async with training(bench, store) as trainer:
        await store.log.append(labelled(20))
        await until_learned(store, trainer, 20)
        clock.set_by = jump
        begin = time.monotonic()
        await store.log.append(labelled(20, first=20))
        await until_learned(store, trainer, 40)
        assert time.monotonic() - begin > 0.1, "they wait for more, as long as they are told to"
    steps = await store.commit_log.steps(0)
    assert [step.end for step in steps if step.end > step.start][-1] == 40


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_labels_do_not_wait_for_a_clock_of_redis_that_was_set(
    bench: Bench, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await bench.model(recipe={"trigger": {"labels": 1000, "seconds": 0.3}})
    now = RedisConnection.now
    async with training(bench, store) as trainer:
        monkeypatch.setattr(RedisConnection, "now", lambda self: now(self) + jump)
        await store.log.append(labelled(20))
        await until_learned(store, trainer, 20)


async def renewed(store: ModelStore) -> None:
    """Returns when the lease has been renewed."""
    workers = Workers(store.connection)

    async def told_at() -> float:
        owner = await store.connection.redis.get(store.keys.lease)
        heartbeat = await workers.former((owner or b"").decode())
        return 0.0 if heartbeat is None else heartbeat.time

    before = await until_async(told_at)

    async def is_renewed() -> bool:
        return await told_at() > before

    await until_async(is_renewed)


async def test_a_lease_is_kept_by_no_clock_that_can_be_set(bench: Bench, clock: Clock) -> None:

    store = await bench.model()
    async with working(bench, lease_seconds=5):
        await store.log.append(labelled(32))
        for jump in (HOUR, -HOUR):
            await renewed(store)
            clock.set_by = jump
            await renewed(store)
            await renewed(store)
        assert await store.connection.redis.get(store.keys.epoch) == b"1"
        assert await store.connection.redis.exists(store.keys.lease)

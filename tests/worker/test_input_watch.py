"""Rows that are predicted are seen by input drift, whether a label of them comes or not, and at a cost that has a bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.prediction_batches import PredictionBatch
from driftline.store.prediction_ids import EntryId
from driftline.store.predictions import PredictionWriter
from tests.happened import events_of
from tests.waiting import until_async
from tests.worker.conftest import Bench
from tests.worker.running import alarms, working
from worker.input_watch import InputWatch
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio
KIND = "predicted_inputs"
QUICK: dict[str, Any] = {"recipe": {"strategy": "replay", "input_detector": {"reference": 100, "recent": 50}}}


class Traffic:
    """Predictions that no label comes for: batches of rows around a mean."""

    def __init__(self, connection: RedisConnection) -> None:
        self.writer = PredictionWriter(connection, horizon=3600, budget=2**24)
        self.random = np.random.default_rng(0)

    async def come(
        self, store: ModelStore, batches: int, mean: float = 0.0, rows: int = 10, began: float = 0.0
    ) -> None:
        """Of those that ``began`` so many seconds ago some came each second since."""
        await self.writer.connection.time()
        newest = self.writer.next_entry()
        for batch in range(batches):
            inputs = self.random.normal(mean, size=(rows, 8)).astype(np.float32)
            outputs = np.full((rows, 2), 0.5, np.float32).tobytes()
            found = PredictionBatch(1, "live", rows, {"inputs": inputs.tobytes()}, outputs, [1] * rows)
            past = EntryId(newest.ms - int(1000 * began * (batches - batch) / batches), batch)
            self.writer.record(store.uid, past if began else self.writer.next_entry(), found)
        await self.writer.flush()


def watch_of(*stores: ModelStore) -> InputWatch:
    return InputWatch(stores[0].connection, lambda: {store.uid: store for store in stores}, look_seconds=60)


async def watched(store: ModelStore) -> int:
    (found,) = [model for model in await Catalog(store.connection).models() if model.uid == store.uid]
    return found.watched


async def test_a_model_without_any_label_is_told_that_its_inputs_have_moved_and_when_they_stay(bench: Bench) -> None:
    store, traffic = await bench.model(**QUICK), Traffic(bench.connection)
    watch = watch_of(store)
    for _ in range(6):
        await traffic.come(store, 5)
        await watch.look()
    assert await alarms(store) == {} and await watched(store) == 300
    await traffic.come(store, 5, mean=3.0)
    await watch.look()
    message = (await alarms(store))[KIND]
    assert "inputs of what is predicted are distributed otherwise since 20" in message and "most in inputs[" in message
    found = await store.alarms.newest(KIND)
    assert found is not None and found["state"] == "standing" and found["features"][0]["input"] == "inputs"
    for _ in range(4):
        await traffic.come(store, 5, mean=3.0)
        await watch.look()
    assert await alarms(store) == {}
    told = [stored.event.kind for stored in await events_of(bench.connection, store.uid)]
    assert told == ["created", "alarm", "alarm_over"]


async def test_what_was_predicted_before_a_start_is_compared_with_and_not_told_of_again(bench: Bench) -> None:
    store, traffic = await bench.model(**QUICK), Traffic(bench.connection)
    await traffic.come(store, 30, began=30)
    first = watch_of(store)
    await first.look()
    await traffic.come(store, 10, mean=3.0)
    await first.look()
    assert KIND in await alarms(store)
    await watch_of(store).look()
    told = [stored.event.kind for stored in await events_of(bench.connection, store.uid)]
    assert told == ["created", "alarm"]


async def test_a_look_costs_as_much_with_many_predictions_as_with_some_and_nothing_for_a_model_without(
    bench: Bench,
) -> None:
    busy, quiet, traffic = (
        await bench.model("busy", **QUICK),
        await bench.model("quiet", **QUICK),
        Traffic(bench.connection),
    )
    watch = watch_of(busy, quiet)
    await traffic.come(busy, 1)
    await watch.look()
    asked: list[str] = []
    read = watch.rows.read
    watch.rows.read = lambda uid, *rest: asked.append(uid) or read(uid, *rest)  # type: ignore
    before = await watched(busy)
    await traffic.come(busy, 400, rows=50)
    await watch.look()
    assert await watched(busy) - before == 64 and asked == [busy.uid]
    await watch.look()
    assert await watched(busy) - before == 64, "what a look has passed over is not read later"


async def test_a_deleted_model_and_one_without_a_detector_are_passed_over(bench: Bench) -> None:
    gone, traffic = await bench.model("gone", **QUICK), Traffic(bench.connection)
    unwatched = await bench.model("unwatched", recipe={"strategy": "replay", "input_detector": None})
    watch = watch_of(gone, unwatched)
    await traffic.come(gone, 5)
    await traffic.come(unwatched, 5)
    await Catalog(bench.connection).delete("gone")
    await watch.look()
    assert await watched(unwatched) == 0
    assert not await bench.connection.redis.exists(gone.keys.meta)


async def test_a_worker_watches_the_models_that_it_owns(bench: Bench) -> None:
    store, traffic = await bench.model(**QUICK), Traffic(bench.connection)
    async with working(bench) as worker:
        await until_async(lambda: len(worker.owned) == 1)
        await traffic.come(store, 5)

        async def has_looked() -> bool:
            return await watched(store) == 50

        await until_async(has_looked)

"""Labels of one who departs from the others: kept, told of, and learned after all once an admin has released them."""

from __future__ import annotations

import pytest

from driftline.records import Command
from driftline.store.rejected import RejectedLabels
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.labellers import QUICK, of_five
from tests.worker.running import add, alarms, offset_is, training, until_withdrawn
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio


async def set_aside(store: ModelStore) -> set[str]:
    found = await RejectedLabels(store.connection, store.uid).newest(1000)
    assert all(each.state == "quarantined" and "k0" in each.reason for each in found)
    return {each.id for each in found}


async def test_what_a_liar_sends_is_kept_and_is_learned_once_it_is_released(bench: Bench) -> None:
    store = await bench.model(recipe=QUICK)
    async with training(bench, store) as trainer:
        for first in range(0, 500, 25):
            await add(store, trainer, of_five(labelled(25, first)))
            await offset_is(store, first + 25)
        kept = await set_aside(store)
        assert kept and "k0" in (await alarms(store))["labellers"]
        found = await store.log.find(min(kept))
        assert found is not None and found.exception is not None and found.exception[0] == "quarantined"
        metrics = trainer.learner.metrics()["labellers"]
        assert [each["state"] for each in metrics] == ["quarantined", *["learned"] * 4]
        command = Command("c1", "release", {"labeller": "k0"}, "admin", "a new sensor")
        await add(store, trainer, [command, *labelled(5, 600)])
        await offset_is(store, 506)
        await until_withdrawn(store, "labellers")
        assert not await set_aside(store)
        found = await store.log.find(min(kept))
        assert found is not None and found.exception is None
        assert not trainer.learner.trust.held


async def test_a_labeller_that_is_not_known_is_refused(bench: Bench) -> None:
    store = await bench.model(recipe=QUICK)
    async with training(bench, store) as trainer:
        await add(store, trainer, [Command("c1", "drop", {"labeller": "nobody"})])

        async def is_refused() -> bool:
            return "nobody" in (await alarms(store)).get("command_failed", "")

        await until_async(is_refused)


async def test_after_a_crash_the_same_labels_are_kept(bench: Bench) -> None:
    store = await bench.model(recipe=QUICK)
    async with training(bench, store) as trainer:
        for first in range(0, 500, 25):
            await add(store, trainer, of_five(labelled(25, first)))
            await offset_is(store, first + 25)
    kept = await set_aside(store)
    assert kept
    trainer = await bench.train(store)
    assert {item.id for _, item in trainer.learner.trust.held} == kept

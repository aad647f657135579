"""The gate's modes from end to end of a trainer: what waits for an admin, and what a canary must show."""

from __future__ import annotations

import asyncio

import pytest

from driftline.records import Answer, Command, Item, Route
from driftline.store.commits import CanaryVersion, JobRecord
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import add, offset_is, training, until_learned
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio

HALF = bytes(8)


def answered(items: list[Item], version: int, route: Route, is_right: bool) -> list[Item]:
    answers = [Answer(version, int(item.label) ^ (not is_right), HALF) for item in items]  # type: ignore[arg-type]
    return [
        Item(f"{route}-{item.id}", item.inputs, item.label, route=route, answer=answer)
        for item, answer in zip(items, answers, strict=True)
    ]


async def until_version(store: ModelStore, version: int) -> None:
    async def is_live() -> bool:
        return (await store.commit_log.head()).version >= version

    await until_async(is_live)


async def trained(store: ModelStore, job: str) -> JobRecord:
    """The job once all of its training is done."""

    async def whole() -> JobRecord | None:
        found = await store.commit_log.job(job)
        return found if found is not None and found.progress == 1 else None

    found = await until_async(whole)
    assert found is not None
    return found


async def test_under_a_manual_gate_labels_wait_visibly_until_they_are_promoted(bench: Bench) -> None:
    store = await bench.model(recipe={"gate": {"mode": "manual"}})
    async with training(bench, store) as trainer:
        await add(store, trainer, labelled(100))
        await offset_is(store, 100)
        await asyncio.sleep(0.3)
        head = await store.commit_log.head()
        assert (head.version, head.learned) == (1, 100) and await store.commit_log.covering(100) is None
        await add(store, trainer, [Command("p", "promote")])
        await until_version(store, 2)
        assert await store.commit_log.covering(100) == 2
        assert (await store.commit_log.version(2)).reason == "promoted by an admin"


async def test_under_a_manual_gate_a_job_waits_for_its_promotion_and_survives_a_crash(bench: Bench) -> None:
    store = await bench.model(recipe={"gate": {"mode": "manual"}})
    await store.log.append(labelled(200))
    job = f"{store.uid}-1"
    retrain = {"recipe": {}, "edits": [{"type": "activation", "to": "gelu"}], "epochs": 2, "reason": ""}
    async with training(bench, store) as trainer:
        await add(store, trainer, [Command(job, "retrain", retrain)])
        assert (await trained(store, job)).state == "running" and (await store.commit_log.head()).version == 1
        await add(store, trainer, [Command("p", "promote")])
        await until_version(store, 2)
        await until_learned(store, trainer, 200)
        digest = trainer.learner.digest()
    found = await store.commit_log.job(job)
    assert found is not None and (found.state, found.promoted, found.version) == ("succeeded", True, 2)
    assert "gelu" in str((await store.spec())["network"])
    assert found.report and found.report["reason"] == "promoted by an admin" and found.report["after"]["parameters"]
    again = await bench.trainer(store)
    await again.committer.recover()
    assert again.learner.digest() == digest and again.learner.promotion.promotion_watch is not None


async def test_a_rollback_by_itself_ends_the_job_that_runs(bench: Bench) -> None:
    store = await bench.model(recipe={"gate": {"mode": "manual"}})
    job = f"{store.uid}-1"
    retrain = {"recipe": {}, "edits": [], "epochs": 2, "reason": ""}
    async with training(bench, store) as trainer:
        await add(store, trainer, labelled(100))
        await offset_is(store, 100)
        await add(store, trainer, [Command("p", "promote")])
        await until_version(store, 2)
        await add(store, trainer, [Command(job, "retrain", retrain)])
        await trained(store, job)
        await add(store, trainer, answered(labelled(300, first=500), 2, "live", is_right=False))
        await until_version(store, 3)
        assert "roll" in (await store.commit_log.version(3)).reason
    found = await store.commit_log.job(job)
    assert found is not None and found.state == "cancelled" and found.report
    assert found.report["reason"] == "what was served has been rolled back"


async def canary_of(store: ModelStore) -> CanaryVersion | None:
    return (await store.commit_log.head()).canary


@pytest.mark.parametrize("is_right", [True, False])
async def test_a_canary_goes_live_or_goes(bench: Bench, is_right: bool) -> None:
    store = await bench.model(recipe={"gate": {"mode": "canary", "labels": 20, "share": 0.25}})
    async with training(bench, store) as trainer:
        await add(store, trainer, labelled(64))
        canary = await until_async(lambda: canary_of(store))
        assert canary is not None and canary.share == 0.25 and (await store.commit_log.head()).version == 1
        live = answered(labelled(30, first=500), 1, "live", is_right=not is_right)
        await add(store, trainer, live + answered(labelled(30, first=600), canary.version, "canary", is_right))
        await offset_is(store, 124)
        head = await store.commit_log.head()
        assert head.version == (canary.version if is_right else 1) and head.newest >= canary.version
        assert head.canary is None or head.canary.version > canary.version
        assert trainer.head == head
    again = await bench.trainer(store)
    await again.committer.recover()
    assert again.head.version == head.version

"""A comparison of two versions: a job that looks, is repeated harmlessly, and says why where it cannot."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driftline.records import Command
from driftline.store.commits import JobRecord
from driftline.store.connection import RedisConnection
from tests.worker.conftest import Bench, labelled
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio

NARROW = "tests.worker.networks:narrow"


async def compared(bench: Bench, store: ModelStore, *versions: int, die_after: int | None = None) -> JobRecord:
    job = f"{store.uid}-{'-'.join(map(str, versions))}"
    await store.log.append([Command(job, "compare", {"versions": list(versions)})])
    await bench.train(store, die_after)
    found = await store.commit_log.job(job)
    assert found is not None
    return found


async def test_two_versions_are_compared_and_the_learner_stays_as_it_is(bench: Bench) -> None:
    store = await bench.model(recipe={"gate": {"holdout": 0.2}})
    await store.log.append(labelled(400))
    digest = (await bench.train(store)).learner.digest()
    live = (await store.commit_log.head()).version
    found = await compared(bench, store, 1, live, die_after=1)
    assert (found.state, found.progress, found.promoted, found.version) == ("succeeded", 1.0, None, None)
    assert found.report is not None
    first, last = found.report["versions"]
    assert (first["version"], last["version"]) == (1, live)
    trainer = await bench.train(store)
    # Of the first 150 none is held out; those that would have been are on neither side.
    on_neither = sum(trainer.learner.promotion.is_held_out(item) for item in labelled(400)[:150])
    assert last["latest"]["count"] + last["holdout"]["count"] == 400 - on_neither
    assert found.report["differences"]["latest"]["accuracy"]["beyond_chance"]
    assert trainer.learner.digest() == digest and (await store.commit_log.head()).version == live
    assert not await store.connection.redis.hvals(store.keys.alarms)


async def test_a_version_that_is_no_longer_kept_fails_the_job_by_name_and_learning_goes_on(bench: Bench) -> None:
    store = await bench.model()
    found = await compared(bench, store, 1, 99)
    assert found.state == "failed" and found.report == {"reason": "there is no version 99, or it is no longer kept"}
    await store.log.append(labelled(64))
    assert (await bench.train(store)).head.learned == 64


async def test_a_network_that_fails_is_told_of_and_the_learner_stays(
    connection: RedisConnection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path
) -> None:
    bench = Bench(connection, embedded, thread, tmp_path, factories=[NARROW])
    network = {"factory": NARROW, "arguments": {"most": 250}}
    store = await bench.model(network=network, recipe={"strategy": "finetune", "gate": {"holdout": 0}})
    await store.log.append(labelled(200))
    digest = (await bench.train(store)).learner.digest()
    head = await store.commit_log.head()
    assert (await compared(bench, store, 1, head.version)).state == "succeeded"
    await store.log.append(labelled(100, first=200))
    await bench.train(store)
    found = await compared(bench, store, head.version, 1)
    assert found.state == "failed"
    assert found.report == {
        "reason": f"the network of version {head.version} failed: ValueError: 256 rows are more than 250"
    }
    assert (await bench.train(store)).learner.digest() != digest

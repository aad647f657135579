"""Code of a user's own that raises inside a job: the job ends with its first line, and the stream learns on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from driftline.networks import bundle
from driftline.records import Command
from driftline.store.connection import RedisConnection
from driftline.store.events import INSTANCE, EventLog, EventPlace
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import add, offset_is, state_is, training
from worker import recovery

pytestmark = pytest.mark.anyio

NARROW = "tests.worker.networks:narrow"
LOSS = "tests.learning.functions:raising"
# A job trains on 64 rows at a time, and its report looks at up to 256; a step of the stream takes 32.
FAILURES: dict[str, tuple[int, dict[str, Any], str]] = {
    "a loss": (1000, {"loss": {"name": "custom", "function": LOSS}}, "ValueError: no loss today"),
    "a network in training": (40, {}, "ValueError: 64 rows are more than 40"),
    "a network after it": (250, {}, "ValueError: 256 rows are more than 250"),
}


@pytest.mark.parametrize("where", FAILURES)
async def test_what_raises_inside_a_job_ends_it_with_its_last_line_and_the_stream_learns_on(
    connection: RedisConnection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path, where: str
) -> None:
    most, recipe, told = FAILURES[where]
    bench = Bench(connection, embedded, thread, tmp_path, factories=[NARROW, LOSS])
    network = {"factory": NARROW, "arguments": {"most": most}}
    store = await bench.model(network=network, recipe={"strategy": "finetune", "gate": {"holdout": 0}})
    await store.log.append(labelled(400))
    job = f"{store.uid}-job"
    retrain = Command(job, "retrain", {"recipe": recipe, "edits": [], "epochs": 1, "reason": ""})
    async with training(bench, store) as trainer:
        await offset_is(store, 400)
        await add(store, trainer, [retrain])
        await state_is(store, job, "failed")
        done = await store.commit_log.job(job)
        assert done is not None and (done.promoted, done.report) == (None, {"reason": told})
        await add(store, trainer, labelled(100, first=400))
        await until_async(lambda: store.commit_log.covering(501))
        assert trainer.learner.retraining is None
    assert not any(version.report for version in await store.commit_log.versions()), "nothing of the job was served"


async def test_a_worker_with_another_build_or_factory_than_the_last_owner_says_so(
    connection: RedisConnection,
    embedded: str,
    thread: ThreadPoolExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(connection, embedded, thread, tmp_path, factories=[NARROW])
    store = await bench.model(network={"factory": NARROW, "arguments": {"most": 1000}}, recipe={"strategy": "finetune"})
    await store.log.append(labelled(64))

    async def told() -> list[str]:
        found = await EventLog(connection, INSTANCE).newest(EventPlace(0, 0), EventPlace.at(2**40), 10, ["worker"])
        return [stored.event.message for stored in found]

    await bench.train(store)
    await bench.train(store)
    assert await told() == []
    build = bundle.this_build()
    monkeypatch.setattr(bundle, "this_build", lambda: {**build, "torch": "9.9"})
    monkeypatch.setattr(recovery, "own_code", lambda spec: {NARROW: "0" * 64})
    for _ in range(2):
        await bench.train(store)
    (message,) = await told()
    assert message == (
        f"the model weather is learned on with another build than before: torch {build['torch']} → 9.9, another {NARROW}"
    )

"""A network that fails whatever rows it is given costs no label: they wait until it works again."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from driftline.records import Command
from driftline.store.connection import RedisConnection
from tests.waiting import SECONDS
from tests.worker.conftest import Bench, labelled
from tests.worker.networks import Moody
from tests.worker.running import alarms, training, until_alarm, until_learned, until_withdrawn
from worker.model_store import ModelStore
from worker.recovery import repeat
from worker.trainer import Trainer

pytestmark = pytest.mark.anyio

BOUNDED, MOODY = "tests.worker.networks:bounded", "tests.worker.networks:moody"
HUNGRY = "tests.worker.networks:hungry"
RECIPE: dict[str, Any] = {"strategy": "replay", "gate": {"holdout": 0.2}}


@pytest.fixture
def own(connection: RedisConnection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path) -> Bench:
    """A bench at which networks of the tests may be named."""
    return Bench(connection, embedded, thread, tmp_path, factories=[BOUNDED, MOODY, HUNGRY])


async def exceptions(store: ModelStore, count: int) -> set[tuple[str, str]]:
    """Why labels were not learned."""
    found = [await store.log.find(f"i{n}") for n in range(count)]
    return {receipt.exception for receipt in found if receipt is not None and receipt.exception is not None}


async def let_it_retry(trainer: Trainer) -> None:
    """Until it has been tried again several times."""
    checked = trainer.network.check
    count = 0

    async def counting() -> None:
        nonlocal count
        count += 1
        await checked()

    trainer.network.check = counting  # type: ignore[method-assign]
    async with asyncio.timeout(SECONDS):
        while count < 4:
            trainer.wake.set()
            await asyncio.sleep(0.01)


async def test_weights_that_make_a_network_raise_quarantine_nothing_and_a_rollback_mends_it(
    own: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    explosive = {"name": "sgd", "learning_rate": 100.0, "clip": None}
    recipe = {"strategy": "finetune", "optimizer": explosive, "updates": 1, "gate": {"mode": "manual", "holdout": 0}}
    network = {"factory": BOUNDED, "arguments": {"most": 1.0}}
    store = await own.model(network=network, recipe=recipe | {"batch_size": 32, "trigger": {"labels": 32}})
    async with training(own, store, first_retry_seconds=0.01, last_retry_seconds=0.05) as trainer:
        await store.log.append(labelled(32))
        await until_learned(store, trainer, 32)
        await store.log.append(labelled(64, first=32))
        message = await until_alarm(store, trainer, "network_failed")
        assert "ValueError: a weight is too large" in message and "rollback" in message
        await let_it_retry(trainer)
        assert (await store.commit_log.head()).offset == 32 and await exceptions(store, 96) == set()
        assert set(await alarms(store)) == {"network_failed"}
        tracebacks = [record for record in caplog.records if record.exc_info]
        assert [record.levelno for record in tracebacks] == [logging.ERROR], "one traceback, whatever is tried again"
        careful = {"recipe": {"optimizer": {"learning_rate": 0.001}}}
        await store.log.append([Command("c", "recipe", careful), Command("back", "rollback", {"version": 1})])
        await until_learned(store, trainer, 96)
        await until_withdrawn(store, "network_failed")
    assert await exceptions(store, 96) == set()


@pytest.mark.parametrize("is_training", [True, False], ids=["in training", "in evaluation"])
async def test_a_network_that_fails_in_one_mode_waits_too_and_goes_on_when_it_works(
    own: Bench, monkeypatch: pytest.MonkeyPatch, is_training: bool
) -> None:
    monkeypatch.setattr(Moody, "fails_in", set())
    store = await own.model(network={"factory": MOODY}, recipe=RECIPE)
    await store.log.append(labelled(300))
    await own.train(store)
    Moody.fails_in.add(is_training)
    await store.log.append(labelled(300, first=300))
    async with training(own, store, first_retry_seconds=0.01, last_retry_seconds=0.05) as trainer:
        assert "not today" in await until_alarm(store, trainer, "network_failed")
        learned = (await store.commit_log.head()).learned
        await let_it_retry(trainer)
        assert (await store.commit_log.head()).learned == learned < 600, "labels wait"
        Moody.fails_in.clear()
        await until_learned(store, trainer, 600)
        await until_withdrawn(store, "network_failed")
    assert await exceptions(store, 600) == set()


async def test_a_step_for_which_there_is_no_memory_replays_fewer_rows_and_is_repeated_so(own: Bench) -> None:
    recipe = {"strategy": {"name": "replay", "replayed": 32}, "gate": {"mode": "off"}, "batch_size": 8}
    network = {"factory": HUNGRY, "arguments": {"most": 20}}
    store = await own.model(network=network, recipe=recipe | {"trigger": {"labels": 8}})
    await store.log.append(labelled(64))
    trainer = await own.train(store)
    assert [step.plan.halved for step in await store.commit_log.steps(0) if step.plan.updates][-1] == 2
    assert "can't allocate memory" in (await alarms(store))["step_failed"] and await exceptions(store, 64) == set()
    again = await repeat(store, trainer.committer.compute, await store.commit_log.head(), None)
    assert again.digest() == trainer.learner.digest()
    trainer.network.renew()
    assert trainer.network.halved == 0, "a command may have mended it"


async def test_a_want_of_memory_for_any_row_is_no_record_s_fault(own: Bench) -> None:
    recipe = {"strategy": {"name": "replay", "replayed": 32}, "gate": {"mode": "off"}}
    store = await own.model(network={"factory": HUNGRY, "arguments": {"most": 1}}, recipe=recipe)
    async with training(own, store, first_retry_seconds=0.01, last_retry_seconds=0.05) as trainer:
        await store.log.append(labelled(96))
        message = await until_alarm(store, trainer, "network_failed")
        assert "can't allocate memory" in message and "change its recipe" in message
        learned = (await store.commit_log.head()).learned
        await let_it_retry(trainer)
        assert (await store.commit_log.head()).learned == learned and await exceptions(store, 96) == set()
        await store.log.append([Command("c", "recipe", {"recipe": {"strategy": "finetune", "batch_size": 1}})])
        await until_learned(store, trainer, 96)
        await until_withdrawn(store, "network_failed")
    assert await exceptions(store, 96) == set()


async def test_a_new_owner_withdraws_the_alarm_of_a_former_one(own: Bench) -> None:
    store = await own.model(network={"factory": MOODY}, recipe=RECIPE)
    await store.alarm("network_failed", "before")
    await store.log.append(labelled(32))
    async with training(own, store) as trainer:
        await until_learned(store, trainer, 32)
        await until_withdrawn(store, "network_failed")

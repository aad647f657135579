"""When a trainer learns, what it does with trouble, and how jobs end."""

from __future__ import annotations

import asyncio
import json

import pytest

from driftline.learning.learner import Learner
from driftline.learning.step_result import StepResult
from driftline.records import Command, Item, Plan
from driftline.store.catalog import Catalog
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import add, alarms, offset_is, state_is, training
from worker.model_store import ModelStore

pytestmark = pytest.mark.anyio

NEVER = {"labels": 100_000, "seconds": 3600}


async def test_labels_are_learned_at_a_count(bench: Bench) -> None:
    store = await bench.model(recipe={"trigger": {"labels": 20, "seconds": 3600}})
    async with training(bench, store) as trainer:
        await add(store, trainer, labelled(19))
        await asyncio.sleep(0.3)
        assert (await store.commit_log.head()).offset == 0
        await add(store, trainer, labelled(1, first=19))
        await offset_is(store, 20)


async def test_labels_are_learned_at_an_age(bench: Bench) -> None:
    store = await bench.model(recipe={"trigger": {"labels": 1000, "seconds": 0.3}})
    async with training(bench, store) as trainer:
        await add(store, trainer, labelled(3))
        await offset_is(store, 3)


async def test_under_a_backlog_labels_are_served_before_all_of_it_is_learned(bench: Bench) -> None:
    store = await bench.model()
    async with training(bench, store) as trainer:
        trainer.schedule.publish_seconds, trainer.schedule.publishing.share = 0.0, 1.0
        await add(store, trainer, labelled(320))
        await offset_is(store, 320)
        steps = await store.commit_log.steps(0)
    assert [step.end for step in steps if step.version is not None][:4] == [128, 256, 288, 320]
    assert [step.plan.at_once for step in steps][:4] == [32, 32, 0, 0], "far from its end several batches are a step"


async def test_after_a_drift_alarm_labels_are_learned_as_they_come(bench: Bench) -> None:
    store = await bench.model(recipe={"trigger": {"labels": 600, "seconds": 3600, "alarm": 300}})
    right = [item for item in labelled(700, answered=1) if item.label == 1][:300]
    wrong = [item for item in labelled(700, first=700, answered=0) if item.label == 1][:300]
    async with training(bench, store) as trainer:
        await add(store, trainer, [*right, *wrong])
        await offset_is(store, 600)
        assert [alarm.kind for alarm in trainer.learner.monitor.alarms]
        await add(store, trainer, labelled(2, first=5000))
        await offset_is(store, 602)
        await add(store, trainer, labelled(200, first=6000))
        await offset_is(store, 802)
        await add(store, trainer, labelled(2, first=7000))
        await asyncio.sleep(0.3)
        assert (await store.commit_log.head()).offset == 802, "the alarm is long ago"


async def test_a_command_of_another_version_is_refused_by_name_and_learning_goes_on(bench: Bench) -> None:
    """``forget`` was a kind of command that logs of older versions may hold."""
    store = await bench.model(recipe={"trigger": {"labels": 20, "seconds": 0.3}})
    async with training(bench, store) as trainer:
        await add(store, trainer, [Command("c1", "dream", {"ids": ["7"]}), *labelled(20)])
        await offset_is(store, 21)
        alarm = await store.connection.redis.hget(store.keys.alarms, "command_failed")
    assert "this worker does not know the command 'dream'" in alarm.decode()
    assert (await store.commit_log.head()).learned == 20


async def test_under_a_pause_labels_wait_and_are_learned_afterwards(bench: Bench) -> None:
    store = await bench.model()
    async with training(bench, store) as trainer:
        await add(store, trainer, [Command("p", "pause")])
        await until_async(store.is_paused)
        await add(store, trainer, labelled(64))
        await asyncio.sleep(0.3)
        assert (await store.commit_log.head()).learned == 0
        await add(store, trainer, [Command("r", "resume")])
        await offset_is(store, 66)
    assert (await store.commit_log.head()).learned == 64


async def test_a_pause_stands_without_a_worker_and_before_one_that_starts_later_learns(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(64))
    await store.log.append([Command("p", "pause")])
    assert (await Catalog(bench.connection).get("weather")).paused
    async with training(bench, store) as trainer:
        await until_async(lambda: has_nothing_pending(store))
        await asyncio.sleep(0.2)
        assert trainer.committer.is_paused and (await store.commit_log.head()).learned == 0
    await store.log.append([Command("r", "resume")])
    assert not (await Catalog(bench.connection).get("weather")).paused
    await bench.train(store)
    assert (await store.commit_log.head()).learned == 64


async def has_nothing_pending(store: ModelStore) -> bool:
    return not await store.pending()


async def test_commands_that_waited_for_a_worker_leave_the_flag_as_the_newest_set_it(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append([Command("p", "pause"), Command("r", "resume"), Command("q", "pause"), *labelled(64)])
    trainer = await bench.train(store, die_after=2)
    assert trainer.head.step == 1 and await store.is_paused(), "the resume was carried out, and a newer pause waits"
    trainer = await bench.trainer(store)
    await trainer.committer.recover()
    await trainer.commands.apply()
    assert trainer.committer.is_paused and await store.is_paused()
    assert [entry.record.id for entry in await store.log.read(0, 3)] == ["p", "r", "q"]


async def test_a_command_teaches_nothing_and_what_it_has_brought_stays_live(bench: Bench) -> None:
    store = await bench.model(recipe={"strategy": "replay", "optimizer": {"learning_rate": 0.1}})
    await store.log.append(labelled(200))
    digest = (await bench.train(store)).learner.digest()
    await store.log.append([Command("p", "pause"), Command("r", "resume")])
    assert (await bench.train(store)).learner.digest() == digest
    await store.log.append([Command("back", "rollback", {"version": 1})])
    await bench.train(store)
    live = await store.commit_log.version((await store.commit_log.head()).version)
    assert live.reason == "rolled back to version 1"


async def test_a_record_that_fails_is_quarantined_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await bench.model()
    learn = Learner.learn

    def fail_on_13(learner: Learner, items: list[Item], numbers: list[int], plan: Plan) -> StepResult:
        if 13 in numbers:
            raise ZeroDivisionError("a network of the user's")
        return learn(learner, items, numbers, plan)

    monkeypatch.setattr(Learner, "learn", fail_on_13)
    await store.log.append(labelled(32))
    await bench.train(store)
    known = {entry.n: await store.log.find(entry.record.id) for entry in await store.log.read(11, 3)}
    exceptions = {n: found.exception for n, found in known.items() if found is not None}
    assert exceptions == {12: None, 13: ("quarantined", "ZeroDivisionError: a network of the user's"), 14: None}
    assert (await store.commit_log.head()).learned == 32


async def test_records_that_fail_at_once_and_not_alone_are_learned_and_an_alarm_tells(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What costs so much time must not go unnoticed."""
    store = await bench.model()
    learn = Learner.learn

    def fail_on_several(learner: Learner, items: list[Item], numbers: list[int], plan: Plan) -> StepResult:
        if len(numbers) > 1:
            raise ZeroDivisionError("a network of the user's")
        return learn(learner, items, numbers, plan)

    monkeypatch.setattr(Learner, "learn", fail_on_several)
    await store.log.append(labelled(8))
    assert (await bench.train(store)).learner.learned == 8
    assert "records fail at once" in (await alarms(store))["step_failed"]


async def test_a_job_that_waits_is_cancelled_before_it_begins_and_one_that_runs_at_once(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(300))
    await bench.train(store)
    long = {"recipe": {}, "edits": [], "epochs": 1000, "reason": ""}
    jobs = [f"{store.uid}-{n}" for n in (1, 2)]
    async with training(bench, store) as trainer:
        await add(store, trainer, [Command(job, "retrain", long) for job in jobs])
        await state_is(store, jobs[0], "running")
        await add(store, trainer, [Command("c2", "cancel", {"job": jobs[1]})])
        await state_is(store, jobs[1], "cancelled")
        await add(store, trainer, labelled(32, first=300))
        await offset_is(store, 335)
        await add(store, trainer, [Command("c1", "cancel", {"job": jobs[0]})])
        await state_is(store, jobs[0], "cancelled")
    assert (await store.commit_log.head()).learned == 332, "the stream is learned while a job runs"


async def test_a_job_changes_the_network_only_when_it_is_promoted(bench: Bench) -> None:
    # Experts would answer in the place of a network that has been harmed.
    store = await bench.model(recipe={"strategy": "replay"})
    await store.log.append(labelled(300))
    await bench.train(store)
    good = {"recipe": {}, "edits": [{"type": "activation", "to": "gelu"}], "epochs": 3, "reason": ""}
    harmful = {"recipe": {"optimizer": {"name": "sgd", "learning_rate": 100.0}}, "edits": [], "epochs": 3, "reason": ""}
    await store.log.append([Command(f"{store.uid}-good", "retrain", good), *labelled(40, first=300)])
    await bench.train(store)
    done = await store.commit_log.job(f"{store.uid}-good")
    assert done is not None and (done.state, done.promoted) == ("succeeded", True), done
    spec = await store.spec()
    assert "gelu" in json.dumps(spec["network"])
    assert done.version is not None and (await store.commit_log.version(done.version)).report == done.report
    assert done.report is not None and done.report["after"]["latest"]["accuracy"] > 0.8
    await store.log.append([Command(f"{store.uid}-harmful", "retrain", harmful), *labelled(1500, first=400)])
    await bench.train(store)
    done = await store.commit_log.job(f"{store.uid}-harmful")
    assert done is not None and not done.promoted and done.report, done
    assert (await store.spec())["recipe"]["optimizer"]["name"] == "adamw"


async def test_a_rollback_is_a_new_version_with_the_old_weights(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(300))
    await bench.train(store)
    head = await store.commit_log.head()
    await store.log.append([Command("back", "rollback", {"version": 1})])
    await bench.train(store)
    first, last = await store.commit_log.version(1), await store.commit_log.version(head.version + 1)
    weights = [store.version_files.read(version.manifest)[1].tensors for version in (first, last)]
    assert all(bool((value == weights[1][name]).all()) for name, value in weights[0].items())
    assert (await store.commit_log.head()).offset == 301

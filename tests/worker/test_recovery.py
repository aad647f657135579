"""A trainer that dies anywhere goes on bit for bit."""

from __future__ import annotations

import asyncio
import json

import msgspec
import numpy as np
import pytest

from driftline.learning.learner import Learner
from driftline.records import Answer, Command, Item, Revised
from driftline.store.facts import Expectation
from tests.learning.conftest import assert_same
from tests.worker.conftest import Bench, labelled
from worker.model_store import ModelStore
from worker.recovery import repeat
from worker.trainer import Trainer

pytestmark = pytest.mark.anyio


async def alarms(store: ModelStore) -> list[str]:
    return [json.loads(value)["kind"] for value in await store.connection.redis.hvals(store.keys.alarms)]


async def undisturbed(store: ModelStore, trainer: Trainer) -> Learner:
    """What the model's steps come to when nothing dies: all of them, repeated from the first on."""
    return await repeat(store, trainer.committer.compute, await store.commit_log.head(), None)


@pytest.mark.parametrize("die_after", [1, 2, 3, 5, 8, 10])
async def test_a_trainer_killed_after_any_step_ends_as_one_that_was_not(bench: Bench, die_after: int) -> None:
    store = await bench.model()
    await store.log.append(labelled(300))
    await bench.train(store, die_after)
    trainer = await bench.train(store)
    assert trainer.learner.digest() == (await undisturbed(store, trainer)).digest()
    assert trainer.head.learned == 300
    assert await alarms(store) == []


async def correct(store: ModelStore, rows: range) -> None:
    """Corrects labels of :func:`labelled`, which are the records 1, 2, …"""
    items = labelled(rows.stop)
    corrections = [
        msgspec.structs.replace(
            items[row],
            id=f"c{row}",
            label=1 - int(items[row].label),  # type: ignore[arg-type]
            fact=items[row].id,
            revises=Revised(row + 1, items[row].label),
        )
        for row in rows
    ]
    expected = [Expectation(str(row + 1), items[row].id, row + 1) for row in rows]
    receipts = await store.log.append(corrections, expected=expected)
    assert {receipt.status for receipt in receipts} == {"queued"}


@pytest.mark.parametrize("die_after", [2, 8, 11])
async def test_corrections_are_learned_once_wherever_a_trainer_dies(bench: Bench, die_after: int) -> None:
    store = await bench.model()
    await store.log.append(labelled(300))
    await correct(store, range(100, 300, 10))
    await bench.train(store, die_after)
    trainer = await bench.train(store)
    steps = await store.commit_log.steps(0)
    assert [step.start for step in steps[1:]] == [step.end for step in steps[:-1]] and steps[-1].end == 320
    assert_same((await undisturbed(store, trainer)).state_dict(), trainer.learner.state_dict())
    memory = trainer.learner.replay_buffer.examples
    labels = dict(zip(memory.numbers.tolist(), memory.targets.tolist(), strict=True))
    items = labelled(300)
    assert all(labels[row + 1] == 1 - int(items[row].label) for row in range(100, 300, 10) if row + 1 in labels)  # type: ignore[arg-type]
    assert await alarms(store) == []


async def test_a_trainer_killed_again_and_again_ends_as_one_that_was_not(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(300))
    for _ in range(9):
        await bench.train(store, die_after=1)
    trainer = await bench.train(store)
    assert trainer.learner.digest() == (await undisturbed(store, trainer)).digest()
    assert trainer.head.learned == 300


async def test_every_step_counts_its_labels_once(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(200, answered=1))
    await bench.train(store, die_after=3)
    await store.log.append(labelled(100, first=200))
    await bench.train(store)
    assert (await store.counts())["labelled"] == 200, "of the other ones nothing was predicted"
    steps = await store.commit_log.steps(0)
    assert [step.start for step in steps[1:]] == [step.end for step in steps[:-1]]
    assert (await store.commit_log.head()).learned == 300


async def test_jobs_rollbacks_and_recipes_are_repeated_too(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(200))
    await bench.train(store)
    commands = [
        Command("c1", "recipe", {"recipe": {"optimizer": {"learning_rate": 0.01}}}),
        Command(f"{store.uid}-job", "retrain", {"recipe": {}, "edits": [], "epochs": 2, "reason": ""}),
        Command("c2", "pause"),
        Command("c3", "resume"),
    ]
    await store.log.append([*commands, *labelled(100, first=200)])
    for _ in range(12):
        await bench.train(store, die_after=1)
    trainer = await bench.train(store)
    job = await store.commit_log.job(f"{store.uid}-job")
    assert job is not None and job.state == "succeeded"
    assert trainer.learner.spec.recipe.optimizer.learning_rate == 0.01
    await store.log.append([Command("c4", "rollback", {"version": trainer.head.version})])
    await bench.train(store, die_after=1)
    await bench.train(store)
    assert await alarms(store) == []
    assert (await store.commit_log.head()).learned == 300


def of_three_classes(count: int, first: int = 0) -> list[Item]:
    rows = [(item, np.frombuffer(item.inputs["inputs"], "<f4")[0]) for item in labelled(count, first)]
    return [msgspec.structs.replace(item, label=int(np.digitize(row, [-0.4, 0.4]))) for item, row in rows]


async def test_a_class_that_is_removed_and_comes_back_is_so_after_every_crash_too(bench: Bench) -> None:
    store = await bench.model(classes=[0, 1, 2], recipe={"gate": {"mode": "off"}})
    await store.log.append(of_three_classes(200))
    three = (await bench.train(store)).head.version
    edits = [{"type": "remove_classes", "classes": [0]}]
    job = Command(f"{store.uid}-job", "retrain", {"recipe": {}, "edits": edits, "epochs": 2, "reason": ""})
    commands = [(job, [1, 2]), (Command("back", "rollback", {"version": three}), [0, 1, 2])]
    for number, (command, classes) in enumerate(commands, 1):
        await store.log.append([command, *of_three_classes(60, first=200 * number)])
        for _ in range(3):
            await bench.train(store, die_after=1)
        trainer = await bench.train(store)
        assert trainer.learner.classes == classes == (await store.spec())["classes"]
        repeated = await repeat(store, trainer.committer.compute, trainer.head, trainer.head.older_checkpoint)
        assert_same(repeated.state_dict(), trainer.learner.state_dict())
    found = await store.commit_log.job(job.id)
    assert found is not None and found.promoted and found.report is not None
    assert {row["class"] for row in found.report["before"]["holdout"]["classes"]} <= {1, 2}
    assert await alarms(store) == []


def served(items: list[Item], is_right: bool) -> list[Item]:
    outputs = np.array([0.0, 1.0], np.float32).tobytes()
    answers = [Answer(1, int(item.label) ^ (not is_right), outputs) for item in items]  # type: ignore[arg-type]
    return [msgspec.structs.replace(item, answer=answer) for item, answer in zip(items, answers, strict=True)]


@pytest.mark.parametrize("die_after", [None, 1])
async def test_a_job_that_an_alarm_forks_is_repeated_and_ends_as_any_other(bench: Bench, die_after: int | None) -> None:
    store = await bench.model(recipe={"on_alarm": "retrain", "trigger": {"labels": 32}})
    await store.log.append(served(labelled(320), is_right=True))
    await bench.train(store)
    await store.log.append(served(labelled(96, first=320), is_right=False))
    for _ in range(8 if die_after else 0):
        await bench.train(store, die_after=die_after)
    trainer = await bench.train(store)
    alarm = trainer.learner.monitor.alarms[0]
    assert abs(alarm.since - 321) <= 5
    jobs = [step.plan.finish for step in await store.commit_log.steps(0) if step.plan.finish]
    assert jobs and jobs[0].startswith(f"{store.uid}-alarm")
    job = await store.commit_log.job(jobs[0])
    assert job is not None and job.state == "succeeded"
    assert await alarms(store) == ["drift"], "what is served is still wrong"


async def change_digest(store: ModelStore, *identifiers: bytes) -> None:
    """Lets steps seem to have come to other weights; all of them where none is named."""
    async with store.connection.redis.pipeline() as pipe:
        kept = await store.connection.redis.xrange(store.keys.steps)
        pipe.delete(store.keys.steps)
        for name, fields in kept:
            changed = json.dumps(json.loads(fields[b"s"]) | {"digest": "0" * 16})
            pipe.xadd(store.keys.steps, {"s": changed} if not identifiers or name in identifiers else fields, id=name)
        await pipe.execute()


async def test_a_learner_that_restarts_knows_which_versions_count_other_classes(bench: Bench) -> None:
    store = await bench.model(classes=[0, 1, 2], recipe={"gate": {"mode": "off"}})
    edits = [{"type": "remove_classes", "classes": [0]}]
    job = Command(f"{store.uid}-job", "retrain", {"recipe": {}, "edits": edits, "epochs": 1, "reason": ""})
    await store.log.append([*of_three_classes(60), job])
    await bench.train(store)
    await store.log.append(of_three_classes(60, first=100))
    await bench.train(store, die_after=1)
    await change_digest(store)
    trainer = await bench.train(store)
    assert await alarms(store) == ["recovery_diverged"]
    found = await store.commit_log.job(job.id)
    assert found is not None and trainer.learner.classes == [1, 2] and trainer.learner.ordered_since == found.version


async def test_weights_that_come_out_otherwise_are_an_alarm_and_learning_restarts_from_the_live_ones(
    bench: Bench,
) -> None:
    store = await bench.model()
    await store.log.append(labelled(200))
    await bench.train(store, die_after=4)
    await change_digest(store, b"2-0")
    trainer = await bench.train(store)
    assert await alarms(store) == ["recovery_diverged"]
    assert trainer.head.learned == 200
    assert trainer.head.checkpoint is not None


async def test_a_damaged_checkpoint_falls_back_to_the_one_before(bench: Bench) -> None:
    store = await bench.model()
    for first in (0, 100, 200):
        await store.log.append(labelled(100, first=first))
        await bench.train(store)
    head = await store.commit_log.head()
    assert head.checkpoint is not None and head.older_checkpoint is not None
    (store.artifacts.root / store.uid / head.checkpoint.manifest).write_bytes(b"{}")
    await store.log.append(labelled(50, first=300))
    trainer = await bench.train(store)
    assert trainer.head.learned == 350
    assert await alarms(store) == ["recovery_failed"]


async def test_a_fenced_trainer_commits_nothing_more(bench: Bench) -> None:
    store = await bench.model()
    await store.log.append(labelled(100))
    first = await bench.trainer(store)
    second = await bench.trainer(store)
    running = asyncio.create_task(first.run())
    result = (await asyncio.gather(running, return_exceptions=True))[0]
    assert type(result).__name__ == "Fenced"
    assert (await store.commit_log.head()).step == 0
    del second
    await bench.train(store)
    assert (await store.commit_log.head()).learned == 100

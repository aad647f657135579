"""Levers of a recipe pulled through the log: carried out, repeated after any crash, and told of where they fail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from driftline.records import Command
from driftline.store.commits import CommitLog
from driftline.store.connection import RedisConnection
from tests.learning.conftest import origin_of
from tests.worker.conftest import Bench, Killed, labelled

pytestmark = pytest.mark.anyio

RAISING = "tests.learning.functions:raising"
OWN = {"loss": {"name": "custom", "function": RAISING}}


@pytest.fixture
def failing(connection: RedisConnection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path) -> Bench:
    """A bench with a loss that raises."""
    return Bench(connection, embedded, thread, tmp_path, factories=[RAISING])


def retrain(recipe: dict[str, Any], race: Sequence[Any] = (), epochs: int = 2) -> dict[str, Any]:
    return {"recipe": recipe, "edits": [], "race": list(race), "epochs": epochs, "reason": ""}


RATES = [{"optimizer": {"learning_rate": rate}} for rate in (1e-6, 0.01, 1e-5)]


@pytest.mark.parametrize(("rate", "race"), [("find", []), (0.002, RATES)], ids=["find", "race"])
async def test_a_trainer_killed_again_and_again_finds_the_same_rate_and_pulls_towards_the_same_version(
    bench: Bench, rate: Any, race: list[Any]
) -> None:
    recipe = {
        "optimizer": {"learning_rate": rate, "schedule": "warm_restart", "layers": {"output": 2}},
        "l2_sp": {"version": 2, "strength": 0.1},
        "averaging": "ema",
        "distillation": {},
    }
    store = await bench.model()
    await store.log.append(labelled(200))
    await bench.train(store)
    pulled = Command("c1", "recipe", {"recipe": {"l2_sp": {"version": 1}, "averaging": "swa"}})
    job = f"{store.uid}-job"
    await store.log.append([pulled, Command(job, "retrain", retrain(recipe, race)), *labelled(100, first=200)])
    for _ in range(8):
        await bench.train(store, die_after=1)
    trainer = await bench.train(store)
    done = await store.commit_log.job(job)
    assert done is not None and done.state == "succeeded" and done.report is not None
    (won,) = [row["recipe"] for row in done.report["race"] if row["outcome"] == "won"]
    assert trainer.learner.spec.recipe.optimizer.learning_rate == won["optimizer"]["learning_rate"]
    _, second = store.version_files.read((await store.commit_log.version(2)).manifest)
    origin = origin_of(trainer.learner.course)["output.weight"]
    assert torch.equal(origin, second.tensors["output.weight"])
    assert not await store.connection.redis.hvals(store.keys.alarms)


@pytest.mark.parametrize("soup", ["mean", "greedy"])
async def test_kept_versions_are_averaged_also_by_a_trainer_killed_again_and_again(bench: Bench, soup: str) -> None:
    store = await bench.model(recipe={"strategy": "replay", "gate": {"mode": "off", "holdout": 0.3}})
    for first in (0, 100, 200):
        await store.log.append(labelled(100, first=first))
        await bench.train(store)
    numbers = [version.version for version in (await store.commit_log.versions())[-3:]]
    edits = [{"type": "average", "versions": numbers, "soup": soup}]
    job = f"{store.uid}-job"
    still: dict[str, Any] = {"optimizer": {"name": "sgd", "learning_rate": 1e-12, "momentum": 0, "weight_decay": 0}}
    await store.log.append([Command(job, "retrain", retrain(still) | {"edits": edits, "epochs": 1})])
    for _ in range(3):
        await bench.train(store, die_after=1)
    await bench.train(store)
    done = await store.commit_log.job(job)
    assert done is not None and done.state == "succeeded" and done.version is not None, done
    weights = await store.weights_of([*numbers, done.version])
    mixed = weights.pop(done.version)["output.weight"]
    if soup == "mean":
        assert torch.allclose(mixed, torch.stack([each["output.weight"] for each in weights.values()]).mean(0))
    assert not await store.connection.redis.hvals(store.keys.alarms)
    lost = [{"type": "average", "versions": [99]}]
    await store.log.append([Command(f"{job}2", "retrain", retrain({}) | {"edits": lost})])
    await bench.train(store)
    done = await store.commit_log.job(f"{job}2")
    assert done is not None and done.state == "failed" and "99" in str(done.report)


async def test_a_recipe_that_changes_in_the_middle_of_a_job_is_repeated_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await bench.model(recipe={"gate": {"mode": "off"}})
    await store.log.append(labelled(200))
    await bench.train(store)
    await store.log.append([Command(f"{store.uid}-job", "retrain", retrain({}, [{}, {"loss": "focal"}], epochs=40))])
    report, points = CommitLog.report_progress, set[str]()
    standings: list[list[str]] = []

    async def change(commit_log: CommitLog, job: str, progress: float, told: dict[str, Any] | None) -> None:
        if not await store.log.find("c1"):
            await store.log.append([Command("c1", "recipe", {"recipe": {"optimizer": {"learning_rate": 0.0001}}})])
        await report(commit_log, job, progress, told)
        found = await commit_log.job(job)
        assert found is not None and found.report is not None and 0 <= found.progress <= 1
        standings.append([row["outcome"] for row in found.report["race"]])

    def die_after_the_job(point: str) -> None:
        points.add(point)
        if point == "trainer.committed" and "job.finished" in points:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(CommitLog, "report_progress", change)
        patched.setattr("worker.jobs.reach", die_after_the_job)
        patched.setattr("worker.committer.reach", die_after_the_job)
        killed = await bench.train(store)
    assert killed.learner.spec.recipe.optimizer.learning_rate == 0.0001 and killed.learner.retraining is None
    assert standings[0] == ["running"] * 2 and sorted(standings[-1]) == ["lost", "won"], "how it stands, while it runs"
    trainer = await bench.train(store)
    assert trainer.learner.digest() == killed.learner.digest()
    assert not await store.connection.redis.hvals(store.keys.alarms)


async def test_a_race_of_which_all_fail_tells_of_each_and_one_can_be_cancelled(
    failing: Bench,
) -> None:
    store = await failing.model()
    await store.log.append(labelled(200))
    await failing.train(store)
    failed, cancelled = f"{store.uid}-failed", f"{store.uid}-cancelled"
    await store.log.append([Command(failed, "retrain", retrain({}, [OWN, OWN | {"batch_size": 8}]))])
    await failing.train(store)
    done = await store.commit_log.job(failed)
    assert done is not None and done.state == "failed" and done.report is not None
    assert done.report["reason"] == "no recipe of the race could be trained: ValueError: no loss today"
    assert [row["reason"] for row in done.report["race"]] == ["ValueError: no loss today"] * 2
    await store.log.append([Command(cancelled, "retrain", retrain({}, [{}, {"batch_size": 8}], epochs=1000))])
    await failing.train(store, die_after=1)
    await store.log.append([Command("c1", "cancel", {"job": cancelled})])
    trainer = await failing.train(store)
    done = await store.commit_log.job(cancelled)
    assert done is not None and done.state == "cancelled" and trainer.learner.retraining is None


async def test_a_version_that_is_not_kept_is_pulled_towards_by_nothing(bench: Bench) -> None:
    store = await bench.model()
    job = f"{store.uid}-job"
    lost: dict[str, Any] = {"l2_sp": {"version": 99}}
    await store.log.append([Command("c1", "recipe", {"recipe": lost}), Command(job, "retrain", retrain(lost))])
    trainer = await bench.train(store)
    done = await store.commit_log.job(job)
    assert done is not None and done.state == "failed" and done.report is not None and "99" in done.report["reason"]
    assert trainer.learner.spec.recipe.l2_sp is None


async def test_a_loss_of_ones_own_that_fails_is_told_of_and_the_champion_stays(
    failing: Bench,
) -> None:
    store = await failing.model()
    await store.log.append(labelled(200))
    await failing.train(store)
    job = f"{store.uid}-job"
    await store.log.append([Command(job, "retrain", retrain(OWN))])
    before = dict((await failing.train(store)).learner.promotion.champion.state_dict())
    done = await store.commit_log.job(job)
    assert done is not None and done.state == "failed" and done.report == {"reason": "ValueError: no loss today"}
    await store.log.append([Command("c1", "recipe", {"recipe": OWN}), *labelled(10, first=200)])
    trainer = await failing.train(store)
    found = [await store.log.find(f"i{200 + n}") for n in range(10)]
    reasons = {receipt.exception for receipt in found if receipt is not None}
    assert reasons - {None} == {("quarantined", "ValueError: no loss today")}
    after = trainer.learner.promotion.champion.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert json.loads(await store.connection.redis.hget(store.keys.meta, "spec"))["recipe"]["loss"]["name"] == "custom"

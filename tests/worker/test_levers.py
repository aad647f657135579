"""Levers of a recipe pulled through the log: carried out, repeated after any crash, and told of where they fail."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from driftline.records import Command
from driftline.store.connection import Connection
from tests.worker.conftest import Bench, labelled

pytestmark = pytest.mark.anyio

RAISING = "tests.learning.functions:raising"
OWN = {"loss": {"name": "custom", "function": RAISING}}


def retrain(recipe: dict[str, Any]) -> dict[str, Any]:
    return {"recipe": recipe, "edits": [], "epochs": 2, "reason": ""}


async def test_a_trainer_killed_again_and_again_finds_the_same_rate_and_pulls_towards_the_same_version(
    bench: Bench,
) -> None:
    recipe = {
        "optimizer": {"learning_rate": "find", "schedule": "warm_restart", "layers": {"output": 2}},
        "l2_sp": {"version": 2, "strength": 0.1},
        "averaging": "ema",
        "distillation": {},
    }
    store = await bench.model()
    await store.log.append(labelled(200))
    await bench.train(store)
    pulled = Command("c1", "recipe", {"recipe": {"l2_sp": {"version": 1}, "averaging": "swa"}})
    job = f"{store.uid}-job"
    await store.log.append([pulled, Command(job, "retrain", retrain(recipe)), *labelled(100, first=200)])
    for _ in range(8):
        await bench.train(store, die_after=1)
    trainer = await bench.train(store)
    done = await store.history.job(job)
    assert done is not None and done.state == "succeeded" and done.report is not None
    losses = {row["learning_rate"]: row["loss"] for row in done.report["rates"]}
    assert trainer.learner.spec.recipe.optimizer.learning_rate == min(losses, key=lambda rate: losses[rate])
    _, second = store.publisher.read((await store.history.version(2)).manifest)
    origin = trainer.learner.trainee.upkeep.states["l2_sp"]["output.weight.origin"]
    assert torch.equal(origin, second.tensors["output.weight"])
    assert not await store.connection.redis.hvals(store.keys.alarms)


@pytest.mark.parametrize("soup", ["mean", "greedy"])
async def test_kept_versions_are_averaged_also_by_a_trainer_killed_again_and_again(bench: Bench, soup: str) -> None:
    store = await bench.model(recipe={"strategy": "replay", "gate": {"mode": "off", "holdout": 0.3}})
    for first in (0, 100, 200):
        await store.log.append(labelled(100, first=first))
        await bench.train(store)
    numbers = [version.version for version in (await store.history.versions())[-3:]]
    edits = [{"type": "average", "versions": numbers, "soup": soup}]
    job = f"{store.uid}-job"
    still: dict[str, Any] = {"optimizer": {"name": "sgd", "learning_rate": 1e-12, "momentum": 0, "weight_decay": 0}}
    await store.log.append([Command(job, "retrain", retrain(still) | {"edits": edits, "epochs": 1})])
    for _ in range(3):
        await bench.train(store, die_after=1)
    await bench.train(store)
    done = await store.history.job(job)
    assert done is not None and done.state == "succeeded" and done.version is not None, done
    weights = await store.weights_of([*numbers, done.version])
    mixed = weights.pop(done.version)["output.weight"]
    if soup == "mean":
        assert torch.allclose(mixed, torch.stack([each["output.weight"] for each in weights.values()]).mean(0))
    assert not await store.connection.redis.hvals(store.keys.alarms)
    lost = [{"type": "average", "versions": [99]}]
    await store.log.append([Command(f"{job}2", "retrain", retrain({}) | {"edits": lost})])
    await bench.train(store)
    done = await store.history.job(f"{job}2")
    assert done is not None and done.state == "failed" and "99" in str(done.report)


async def test_a_version_that_is_not_kept_is_pulled_towards_by_nothing(bench: Bench) -> None:
    store = await bench.model()
    job = f"{store.uid}-job"
    lost: dict[str, Any] = {"l2_sp": {"version": 99}}
    await store.log.append([Command("c1", "recipe", {"recipe": lost}), Command(job, "retrain", retrain(lost))])
    trainer = await bench.train(store)
    done = await store.history.job(job)
    assert done is not None and done.state == "failed" and done.report is not None and "99" in done.report["reason"]
    assert trainer.learner.spec.recipe.l2_sp is None


async def test_a_loss_of_ones_own_that_fails_is_told_of_and_the_champion_stays(
    connection: Connection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path
) -> None:
    bench = Bench(connection, embedded, thread, tmp_path, factories=[RAISING])
    store = await bench.model()
    await store.log.append(labelled(200))
    await bench.train(store)
    job = f"{store.uid}-job"
    await store.log.append([Command(job, "retrain", retrain(OWN))])
    before = dict((await bench.train(store)).learner.judge.champion.state_dict())
    done = await store.history.job(job)
    assert done is not None and done.state == "failed" and done.report == {"reason": "ValueError: no loss today"}
    await store.log.append([Command("c1", "recipe", {"recipe": OWN}), *labelled(10, first=200)])
    trainer = await bench.train(store)
    found = [await store.log.find(f"i{200 + n}") for n in range(10)]
    reasons = {receipt.exception for receipt in found if receipt is not None}
    assert reasons - {None} == {("quarantined", "ValueError: no loss today")}
    after = trainer.learner.judge.champion.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert json.loads(await store.connection.redis.hget(store.keys.meta, "spec"))["recipe"]["loss"]["name"] == "custom"

"""Jobs that train in processes of their own: the same weights as on the thread, and nothing lost when one ends early."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from driftline.learning.learner import Learner
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.stateful import State
from driftline.networks.bundle import this_build
from driftline.networks.place import OtherPlace
from driftline.records import Command
from driftline.store.commits import Checkpoint
from tests.waiting import until_async
from tests.worker.conftest import Bench, labelled
from tests.worker.running import add, state_is, training, until_learned
from worker.model_store import ModelStore
from worker.trainer import Trainer
from worker.training import Training
from worker.training_process import JOB, train, write_state
from worker.training_run import TrainingPlaces

pytestmark = pytest.mark.anyio

UID = "0123456789ab"
RACE = [{"batch_size": 8}, {"batch_size": 16}]


def elsewhere(count: int = 1) -> Training:
    """Every job trains in a process after its first slice, the trials of a race in ``count`` of them."""
    return Training(TrainingPlaces(count, light_seconds=0.0), slice_seconds=0.0)


def retrain(epochs: int) -> dict[str, Any]:
    return {"recipe": {}, "edits": [], "race": RACE, "epochs": epochs, "reason": ""}


async def begun(bench: Bench, epochs: int) -> ModelStore:
    """A model that has learned its labels, and is to be trained again."""
    store = await bench.model(uid=UID)
    await store.log.append(labelled(320))
    await bench.train(store)
    await store.log.append([Command(f"{UID}-job", "retrain", retrain(epochs))])
    return store


def process_of(trainer: Trainer) -> int:
    """The process that trains its job; 0 while there is none."""
    run = trainer.training._run
    return 0 if run is None or run.parts[0].process is None else run.parts[0].process.pid


async def is_training(store: ModelStore) -> bool:
    """Whether a process has told how far it is."""
    return 0 < getattr(await store.commit_log.job(f"{UID}-job"), "progress", 0.0) < 1


@pytest.mark.parametrize("count", [1, 2])
async def test_processes_train_what_the_thread_trains_and_go_on_where_they_were_stopped(
    bench: Bench, count: int
) -> None:
    store = await begun(bench, epochs=6)
    async with training(bench, store, training=elsewhere(count)) as trainer:
        await until_async(lambda: is_training(store))
        run = trainer.training._run
        assert run is None or len(run.parts) in (1, count)
    head = await store.commit_log.head()
    untrained, partly_trained = job_of(store, head.older_checkpoint), job_of(store, head.checkpoint)
    assert untrained.halving.done < partly_trained.halving.done
    for job in (untrained, partly_trained):
        while not job.is_done:
            job.advance(1)
    expected, found = (job.halving.state_dict() for job in (untrained, partly_trained))
    assert found.data == expected.data and found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], value) for name, value in expected.tensors.items())
    async with training(bench, store, training=elsewhere()):
        await state_is(store, f"{UID}-job", "succeeded")


def job_of(store: ModelStore, place: Checkpoint | None) -> RetrainJob:
    """The job in a checkpoint."""
    assert place is not None
    job = Learner.from_state(store.version_files.read(place.manifest)[1]).retraining
    assert job is not None
    return job


async def test_a_process_that_is_killed_fails_its_job_and_a_cancelled_one_ends_and_learning_goes_on(
    bench: Bench,
) -> None:
    store = await begun(bench, epochs=600)
    async with training(bench, store, training=elsewhere()) as trainer:
        await until_async(lambda: is_training(store))
        its, ours = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (process_of(trainer), 0))
        assert its == min(19, ours + 10), "labels and predictions go first"
        os.kill(process_of(trainer), signal.SIGKILL)
        await state_is(store, f"{UID}-job", "failed")
        job = await store.commit_log.job(f"{UID}-job")
        assert job is not None and job.report is not None and "SIGKILL" in job.report["reason"]
        await add(store, trainer, [Command(f"{UID}-more", "retrain", retrain(4000))])
        pid = await until_async(lambda: process_of(trainer))
        await add(store, trainer, labelled(32, first=320))
        await until_learned(store, trainer, 352)
        await add(store, trainer, [Command("c", "cancel", {"job": f"{UID}-more"})])
        await state_is(store, f"{UID}-more", "cancelled")
        await until_async(lambda: not Path(f"/proc/{pid}").exists())


async def test_a_job_whose_process_has_no_room_fails_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = await begun(bench, epochs=6)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    async with training(bench, store, training=elsewhere()) as trainer:
        await state_is(store, f"{UID}-job", "failed")
        job = await store.commit_log.job(f"{UID}-job")
        assert job is not None and job.report is not None and "No such file" in job.report["reason"]
        await add(store, trainer, labelled(32, first=320))
        await until_learned(store, trainer, 352)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"build": {**this_build(), "torch": "0.1"}}, "another build: torch 0.1 → "),
        ({"code": {"tests.worker.networks:narrow": "0" * 64}}, "not the same file of tests.worker.networks:narrow"),
        ({"code": {"tests.worker.nowhere:narrow": "0" * 64}}, "not the same file of tests.worker.nowhere:narrow"),
    ],
)
async def test_where_another_build_or_other_code_is_nothing_is_trained(
    tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    write_state(
        tmp_path,
        JOB,
        State({}, {"class_table": [], "factories": [], "place": {"build": this_build(), "code": {}, **other}}),
    )
    with pytest.raises(OtherPlace, match=message):
        train(tmp_path, lambda told: None, threading.Event())
    assert [path.stem for path in tmp_path.iterdir()] == [JOB, JOB], "no result is there"

"""A trainer that dies at any named place: nothing is lost, learned twice or left over, and the weights are the same."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftline.records import Command, Item
from driftline.settings import Settings
from driftline.store.connection import RedisConnection
from driftline.support import failpoints
from tests.worker.conftest import Bench, Killed, labelled
from worker.model_store import ModelStore
from worker.retention import Retention
from worker.schedule import StepSchedule
from worker.trainer import Trainer

pytestmark = pytest.mark.anyio

UID = "00000000abcd"
LABELS = 400
POINTS = [name for name in failpoints.POINTS if name.startswith(("trainer.", "retention."))]
BUSY: dict[str, Any] = {
    "checkpoint_seconds": 0.001,
    "keep_versions": 2,
    "version_seconds": 0,
    "log_keep": 0,
    "orphan_seconds": 0.0,
}
"""Settings under which a trainer checkpoints, trims and collects all the time."""


def items() -> list[Item]:
    return labelled(LABELS, answered=1)


@contextlib.contextmanager
def dying_at(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Raises :class:`Killed` where the process would be killed. Gives the names of the places that were reached."""
    reached: list[str] = []

    def die(due: int, file: Path) -> None:
        reached.append(name)
        if len(reached) == due:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "_armed", {name: (count, Path("/nowhere"))})
        patch.setattr(failpoints, "_die_when_due", die)
        with contextlib.suppress(Killed):
            yield reached


@pytest.fixture(autouse=True)
def candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step puts a candidate to the gate: when one is due says the clock, and two runs would differ by it."""
    monkeypatch.setattr(StepSchedule, "is_candidate_due", lambda self, more_wait: True)


@pytest.fixture
async def busy(bench: Bench, connection: RedisConnection) -> AsyncIterator[Bench]:
    bench.settings = Settings(poll_seconds=0.05, **BUSY)
    yield bench


@pytest.fixture
async def undisturbed(busy: Bench) -> str:
    """The digest of the weights that the same log comes to when nothing dies."""
    elsewhere = RedisConnection(busy.url, f"{busy.connection.keys.prefix}undisturbed:")
    try:
        other = Bench(elsewhere, busy.url, busy.thread, busy.folder / "undisturbed", **BUSY)
        store = await other.model(uid=UID)
        await store.log.append(items())
        return (await other.train(store)).learner.digest()
    finally:
        await elsewhere.close()


async def check(store: ModelStore, trainer: Trainer, learned: int) -> None:
    """What must hold whatever has died."""
    head = await store.commit_log.head()
    assert (head.learned, head.offset) == (learned, await store.log.newest())
    assert await store.commit_log.covering(head.offset) is not None, "every label is served"
    steps = await store.commit_log.steps(max(0, head.checkpoint.step if head.checkpoint else 0))
    assert all(one.end == other.start for one, other in itertools.pairwise(steps))
    versions = [version.version for version in await store.commit_log.versions()]
    assert versions == sorted(versions) and versions[-1] == head.version
    assert await store.connection.redis.hgetall(store.keys.alarms) == {}
    await Retention(store).apply(head)
    head = await store.commit_log.head()
    places = [place.manifest for place in (head.checkpoint, head.older_checkpoint) if place is not None]
    manifests = [*places, *(version.manifest for version in await store.commit_log.versions())]
    wanted = set().union(*(store.version_files.blobs(manifest) for manifest in manifests))
    assert {path.name for path in (store.artifacts.root / store.uid).iterdir()} == wanted, "nothing is left over"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", POINTS)
async def test_a_trainer_that_dies_there_ends_as_one_that_did_not(
    busy: Bench, undisturbed: str, name: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await busy.model(uid=UID)
    await store.log.append(items())
    with dying_at(name, count, monkeypatch) as reached:
        await busy.train(store)
    assert len(reached) >= min(count, 1), "the place was not reached"
    trainer = await busy.train(store)
    assert trainer.learner.digest() == undisturbed
    await check(store, trainer, LABELS)


async def test_a_trainer_that_dies_at_every_place_in_turn_ends_as_one_that_did_not(
    busy: Bench, undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await busy.model(uid=UID)
    await store.log.append(items())
    for name in POINTS:
        with dying_at(name, 1, monkeypatch):
            await busy.train(store)
    trainer = await busy.train(store)
    assert trainer.learner.digest() == undisturbed
    await check(store, trainer, LABELS)


@pytest.mark.parametrize("name", ["job.finished", *POINTS])
async def test_a_job_whose_trainer_dies_ends_once(busy: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await busy.model(uid=UID)
    await store.log.append(labelled(200, answered=1))
    await busy.train(store)
    job = f"{store.uid}-job"
    arguments = {"recipe": {}, "edits": [], "epochs": 2, "reason": ""}
    await store.log.append([Command(job, "retrain", arguments), *labelled(100, first=200, answered=1)])
    with dying_at(name, 2 if name != "job.finished" else 1, monkeypatch):
        await busy.train(store)
    trainer = await busy.train(store)
    done = await store.commit_log.job(job)
    assert done is not None and done.state == "succeeded", done
    assert (await store.commit_log.running_jobs(), await store.pending()) == ([], [])
    await check(store, trainer, 300)

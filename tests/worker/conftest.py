"""A trainer in this process, on a real store, that can be made to die."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.learning.learner import Learner
from driftline.networks.model import Model
from driftline.records import Answer, Item
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.commits import Commit
from driftline.store.connection import RedisConnection
from driftline.store.lease import Lease
from driftline.versions import VersionFiles
from tests.services import spec
from tests.waiting import until_async
from worker.compute import ModelCompute
from worker.model_store import ModelStore
from worker.trainer import Trainer


class Killed(BaseException):
    """What a trainer meets instead of a SIGKILL."""


class Bench:
    """Makes models and trains them."""

    def __init__(
        self, connection: RedisConnection, url: str, thread: ThreadPoolExecutor, folder: Path, **settings: Any
    ) -> None:
        self.connection = connection
        self.url = url
        self.folder = folder
        self.thread = thread
        self.artifacts = Artifacts(folder / "artifacts")
        self.settings = Settings(poll_seconds=0.05, **settings)
        self.owners = self.models = 0

    async def model(self, name: str = "weather", uid: str | None = None, **changes: Any) -> ModelStore:
        """A new model. The same ``uid`` gives the same first weights, so that a test finds the same ones each time."""
        self.models += 1
        uid = uid or hashlib.sha256(f"{name} {self.models}".encode()).hexdigest()[:12]
        found = parse(ModelSpec, spec(name, **changes))
        learner = Learner.create(found, seed=int(uid, 16), factories=self.settings.factories)
        model = Model(learner.spec, learner.classes, learner.module)
        first = await asyncio.to_thread(VersionFiles(self.artifacts, uid).write_first, model)
        await Catalog(self.connection).create(uid, found.model_dump(mode="json"), first)
        return ModelStore(self.connection, self.artifacts, uid, self.settings)

    async def trainer(self, store: ModelStore, **settings: Any) -> Trainer:
        """A trainer of a new owner, with these parameters; whoever had the model before has just died."""
        self.owners += 1
        await self.connection.redis.delete(store.keys.lease)
        lease = Lease(self.connection, store.uid, f"owner{self.owners}")
        assert await lease.acquire()
        return Trainer(store, lease, ModelCompute(self.thread, store.uid), **settings)

    async def train(self, store: ModelStore, die_after: int | None = None) -> Trainer:
        """Trains until the log is learned and served, or dies after so many commits."""
        trainer = await self.trainer(store)
        with dying(trainer, die_after):
            running = asyncio.create_task(trainer.run())
            await until_async(lambda: self._has_ended(running, trainer))
            trainer.stop()
            await running
        return trainer

    async def _has_ended(self, running: asyncio.Task[None], trainer: Trainer) -> bool:
        trainer.wake.set()
        return running.done() or await self.is_done(trainer)

    async def is_done(self, trainer: Trainer) -> bool:
        """Whether all that has come is learned and served."""
        store = trainer.store
        head, newest = await store.commit_log.head(), await store.log.newest()
        is_idle = not await store.pending() and not await store.commit_log.running_jobs()
        return (
            is_idle
            and head.offset == newest
            and trainer.committer.is_recovered
            and not trainer.committer.is_unpublished
        )


@contextmanager
def dying(trainer: Trainer, after: int | None) -> Iterator[None]:
    whole, left = trainer.store.commit_log.commit, after

    async def and_die(commit: Commit) -> None:
        nonlocal left
        await whole(commit)
        if left is not None:
            left -= 1
            if left == 0:
                raise Killed

    trainer.store.commit_log.commit = and_die  # type: ignore[method-assign]
    try:
        yield
    except Killed:
        return
    finally:
        trainer.store.commit_log.commit = whole  # type: ignore[method-assign]


@pytest.fixture
def bench(connection: RedisConnection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path) -> Bench:
    return Bench(connection, embedded, thread, tmp_path)


def labelled(count: int, first: int = 0, turn: int = 1, answered: int | None = None) -> list[Item]:
    """Items that are learned easily: the class is the sign of the first number. ``answered``: what was served."""
    random = np.random.default_rng(first + 1)
    rows = random.normal(size=(count, 8)).astype(np.float32)
    half = np.array([0.5, 0.5], np.float32).tobytes()
    return [
        Item(
            f"i{first + n}",
            {"inputs": row.tobytes()},
            int(turn * row[0] > 0),
            answer=None if answered is None else Answer(1, answered, half),
        )
        for n, row in enumerate(rows)
    ]

"""Versions with weights of a test's choice, published as a trainer would publish them."""

from __future__ import annotations

import asyncio
import math

import torch

from driftline.learning.learner import Learner
from driftline.networks.model import Model
from driftline.records import Plan
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.strategies import STRATEGIES
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.commits import Commit, CommitLog, Step
from driftline.store.connection import RedisConnection
from driftline.store.lease import Lease
from driftline.versions import Position, VersionFiles


class Versions:
    """Takes a model from whoever learns it, and publishes what it is told."""

    def __init__(self, connection: RedisConnection, artifacts: Artifacts) -> None:
        self.connection = connection
        self.artifacts = artifacts

    async def take(self, name: str) -> None:
        """Owns the model from now on."""
        model = await Catalog(self.connection).get(name)
        self.spec, self.uid, self.head = parse(ModelSpec, model.spec), model.uid, model.head
        self.commit_log = CommitLog(self.connection, self.uid)
        self.version_files = VersionFiles(self.artifacts, self.uid)
        self.lease = Lease(self.connection, self.uid, "test")
        await self.connection.redis.delete(self.lease.keys.lease)
        assert await self.lease.acquire()
        self.step = self.head.step
        self.number = self.head.version

    async def publish(self, learner: Learner, share: float | None = None) -> int:
        """Makes a learner's champion the next version, or a canary with a ``share``; and gives its number."""
        self.number += 1
        at = self._next()
        model = Model(learner.spec, learner.classes_of(learner.served), learner.served)
        version = await asyncio.to_thread(
            self.version_files.write_version, model, self.number, self.number - 1, at, "told to", {}
        )
        step = Step(self.step, at.offset, at.offset, Plan(), "", self.number)
        commit = Commit(step, self.lease.epoch, f"test:{self.step}", 0, version, share)
        await self.commit_log.commit(commit)
        return self.number

    async def end_canary(self) -> None:
        """Lets the live version answer alone."""
        at = self._next()
        step = Step(at.step, at.offset, at.offset, Plan(), "")
        await self.commit_log.commit(Commit(step, self.lease.epoch, f"test:{at.step}", 0, ends_canary=True))

    def _next(self) -> Position:
        self.step += 1
        return Position(self.step, self.head.offset)

    async def retire(self, versions: list[int], keep: int = 3) -> None:
        """Forgets versions and deletes the files of all but the newest ones."""
        await self.commit_log.retire(versions)
        kept = (await self.commit_log.versions())[-keep:]
        files = set().union(*(self.version_files.blobs(version.manifest) for version in kept))
        await asyncio.to_thread(self.artifacts.collect, self.uid, files, 0.0)

    def constant(self, probability: float, spec: ModelSpec | None = None) -> Learner:
        """A learner that gives the last of its classes this probability, whatever the input."""
        spec = spec or self.spec
        spec = spec.changed(recipe=spec.recipe.model_copy(update={"strategy": STRATEGIES.parse("replay")}))
        learner = Learner.create(spec, seed=1)
        with torch.no_grad():
            output = learner.promotion.champion.output
            bias = output.get_parameter("bias")
            output.get_parameter("weight").zero_()
            bias.fill_(-30.0)
            bias[0] = 0.0
            bias[-1] = math.log(probability / (1 - probability))
        return learner

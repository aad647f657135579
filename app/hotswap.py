"""Follows the heads of the models in use: prepares each new version aside, then flips one reference."""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import torch

from app.engine import Engine, Model, Snapshot
from driftline.errors import DriftlineError, NotFound, Unavailable
from driftline.networks import bundle
from driftline.networks.build import Served, build
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.connection import Connection
from driftline.store.head import History

logger = logging.getLogger("driftline.hotswap")


class Follower:
    """Keeps the engine's snapshots at the heads. Hints make it quick; a poll makes up for lost hints."""

    def __init__(
        self,
        connection: Connection,
        artifacts: Artifacts,
        engine: Engine,
        *,
        factories: Collection[str],
        device: str,
        poll_seconds: float,
    ) -> None:
        self.connection = connection
        self.catalog = Catalog(connection)
        self.artifacts = artifacts
        self.engine = engine
        self.factories = factories
        self.device = torch.device(device)
        self.poll_seconds = poll_seconds
        self.failures = 0
        self.is_ready = False
        self._uids: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._thread = ThreadPoolExecutor(1, "prepare")

    async def model(self, name: str) -> Model:
        """The model that goes by a name, loaded at its first use.

        Raises:
            NotFound: there is no such model.
            Unavailable: it is not loaded yet, and the store does not answer.
        """
        uid = self._uids.get(name)
        if uid is not None and (model := self.engine.models.get(uid)) is not None:
            return model
        uid = self._uids[name] = await self.catalog.uid(name)
        await self._load(uid)
        return self.engine.models[uid]

    async def listen(self) -> None:
        """Follows the hints until cancelled."""
        async for uid in self.connection.hints():
            if uid is None:
                await self._follow_all()
            elif uid in self.engine.models:
                await self._follow(uid)

    async def poll(self) -> None:
        """Follows by looking, until cancelled."""
        while True:
            await self._follow_all()
            await asyncio.sleep(self.poll_seconds * random.uniform(0.8, 1.2))

    async def _follow_all(self) -> None:
        try:
            self._uids = await self.catalog.names()
        except Unavailable:
            return
        self.is_ready = True
        for uid in list(self.engine.models):
            await self._follow(uid)

    async def _follow(self, uid: str) -> None:
        try:
            await self._load(uid)
        except NotFound:
            self.engine.drop(uid)
        except Unavailable:
            return
        except DriftlineError as error:
            self.failures += 1
            logger.error("model %s stays at its version: %s", uid, error)

    async def _load(self, uid: str) -> None:
        async with self._locks.setdefault(uid, asyncio.Lock()):
            head = await History(self.connection, uid).head()
            current = self.engine.models.get(uid)
            if current is not None and current.snapshot.version >= head.version:
                return
            loop = asyncio.get_running_loop()
            before = current.snapshot if current else None
            snapshot = await loop.run_in_executor(self._thread, self._prepare, uid, head.manifest, before)
            self.engine.swap(snapshot)

    def _prepare(self, uid: str, digest: str, before: Snapshot | None) -> Snapshot:
        manifest = bundle.decode(self.artifacts.get(uid, digest))
        tensors = bundle.weights_from_bytes(self.artifacts.get(uid, manifest.files["weights"].sha256))
        spec = parse(ModelSpec, manifest.spec)
        module = self._module(spec, manifest.classes, before)
        bundle.load(module, tensors)
        module.to(self.device).eval()
        assert manifest.version is not None
        snapshot = Snapshot(uid, manifest.version, manifest.offset, spec, manifest.classes, module, self.device)
        _warm_up(snapshot)
        return snapshot

    def _module(self, spec: ModelSpec, classes: list[int | str], before: Snapshot | None) -> Served:
        if before is not None and before.spec.network == spec.network and before.classes == classes:
            return copy.deepcopy(before.module)
        return build(spec, classes, factories=self.factories, seed=0)

    def close(self) -> None:
        self._thread.shutdown()


def _warm_up(snapshot: Snapshot) -> None:
    """The first batch of a module costs more than the others; nobody should wait for it."""
    for rows in (1, 8):
        inputs = {name: np.zeros((rows, *t.shape), t.dtype) for name, t in snapshot.spec.tensors.items()}
        with suppress(RuntimeError):
            snapshot.compute(inputs)

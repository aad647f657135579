"""Follows the heads of the models in use: prepares each new version aside, then flips one reference."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

import numpy as np
import torch

from driftline.errors import CorruptData, DriftlineError, NotFound, Unavailable
from driftline.networks import bundle
from driftline.networks.build import build
from driftline.networks.bundle import Manifest
from driftline.networks.served_model import ServedModel
from driftline.settings import Settings
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.commits import CanaryVersion, CommitLog
from driftline.store.connection import RedisConnection
from driftline.support.failpoints import reach

from .engine import Engine, Limits, ModelQueue, Snapshot

logger = logging.getLogger("driftline.hotswap")

MOST_PINNED = 16
WARM_UP_ROWS = (1, 8, 32)


class VersionWatcher:
    """Keeps the engine's snapshots at the heads. Hints make it quick; a poll makes up for lost hints."""

    def __init__(self, connection: RedisConnection, artifacts: Artifacts, engine: Engine, settings: Settings) -> None:
        self.connection = connection
        self.catalog = Catalog(connection)
        self.artifacts = artifacts
        self.engine = engine
        self.settings = settings
        self.device = torch.device(settings.device)
        self.is_ready = False
        self._uids: dict[str, str] = {}
        self._pinned: OrderedDict[tuple[str, int], ModelQueue] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self._troubles: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(1, "prepare")

    def loaded(self, name: str) -> ModelQueue | None:
        """The model that goes by a name, if it is in use already."""
        uid = self._uids.get(name)
        return self.engine.models.get(uid) if uid is not None else None

    async def model(self, name: str) -> ModelQueue:
        """The model that goes by a name, loaded at its first use.

        Raises:
            NotFound: there is no such model.
            Unavailable: it is not loaded yet, and the store does not answer or a file of it is missing or damaged.
        """
        model = self.loaded(name)
        if model is None:
            uid = self._uids[name] = await self.catalog.uid(name)
            with _readable(name):
                await self._load(uid)
            model = self.engine.models[uid]
        return model

    async def pinned(self, name: str, version: int) -> ModelQueue:
        """One kept version of a model, whatever is live; the last ones used stay loaded.

        Raises:
            NotFound: there is no such model or version.
        """
        uid = (await self.model(name)).snapshot.uid
        async with self._locks.setdefault(uid, asyncio.Lock()):
            found = self._pinned.pop((uid, version), None)
            if found is None:
                manifest = (await CommitLog(self.connection, uid).version(version)).manifest
                with _readable(name, version):
                    found = self.engine.model(await self._prepared(uid, manifest, None), "pinned")
            self._pinned[uid, version] = found
            while len(self._pinned) > MOST_PINNED:
                self._pinned.popitem(last=False)
            return found

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
            await asyncio.sleep(self.settings.poll_seconds * random.uniform(0.8, 1.2))

    async def _follow_all(self) -> None:
        try:
            self._uids = await self.catalog.names()
            versions = await self.catalog.live_versions(list(self.engine.models))
        except Unavailable:
            return
        self.is_ready = True
        for uid, version in versions.items():
            model = self.engine.models.get(uid)
            if model is not None and model.versions != version:
                await self._follow(uid)

    async def _follow(self, uid: str) -> None:
        try:
            await self._load(uid)
        except NotFound:
            await self._forget_if_deleted(uid)
        except Unavailable:
            return
        except DriftlineError as error:
            if self._troubles.get(uid) != error.message:
                self._troubles[uid] = error.message
                self.engine.measures.swap_failures.inc()
                logger.error("model %s stays at its version: %s", uid, error)

    async def _forget_if_deleted(self, uid: str) -> None:
        """Forgets a model that has no name any more; one that the store has lost goes on serving."""
        with suppress(Unavailable):
            if not await self.catalog.is_named(uid):
                self._forget(uid)

    def _forget(self, uid: str) -> None:
        self.engine.drop(uid)
        self._locks.pop(uid, None)
        self._troubles.pop(uid, None)
        for key in [key for key in self._pinned if key[0] == uid]:
            del self._pinned[key]

    async def _load(self, uid: str) -> None:
        async with self._locks.setdefault(uid, asyncio.Lock()):
            head = await CommitLog(self.connection, uid).head()
            model = self.engine.models.get(uid)
            if model is None or model.snapshot.version < head.version:
                snapshot = await self._prepared(uid, head.manifest, model)
                reach("app.prepared")
                self.engine.swap(snapshot)
            await self._follow_canary(self.engine.models[uid], head.canary)

    async def _follow_canary(self, model: ModelQueue, canary: CanaryVersion | None) -> None:
        """Lets the head's canary answer its share of the traffic, and no other."""
        if canary is None:
            model.canary = None
        elif model.canary is None or model.canary.snapshot.version != canary.version:
            snapshot = await self._prepared(model.snapshot.uid, canary.manifest, None)
            model.canary, model.canary_share = self.engine.model(snapshot, "canary"), canary.share

    async def _prepared(self, uid: str, manifest: str, model: ModelQueue | None) -> Snapshot:
        prepare = partial(self._prepare, uid, manifest)
        if model is not None:
            prepare = partial(prepare, before=model.snapshot, spare=model.take_spare(), largest=model.largest)
        return await asyncio.get_running_loop().run_in_executor(self._thread, prepare)

    def _prepare(
        self, uid: str, digest: str, before: Snapshot | None = None, spare: Snapshot | None = None, largest: int = 1
    ) -> Snapshot:
        """A snapshot of the version with this manifest, in the memory of ``spare`` where it has the same structure."""
        manifest = bundle.decode(self.artifacts.get(uid, digest))
        assert manifest.version is not None
        tensors = bundle.weights_from_bytes(self.artifacts.get(uid, manifest.files["weights"].sha256))
        spec, limits = self._spec(manifest, before)
        module = self._module(spec, manifest, spare)
        bundle.load(module, tensors)
        snapshot = Snapshot(uid, manifest.version, spec, manifest.spec, manifest.classes, module, self.device, limits)
        if spare is None or module is not spare.module:
            _warm_up(snapshot, {*WARM_UP_ROWS, largest})
        return snapshot

    def _spec(self, manifest: Manifest, before: Snapshot | None) -> tuple[ModelSpec, Limits]:
        """The manifest's spec; the very one of the snapshot before where nothing has changed."""
        if before is not None and before.raw_spec == manifest.spec:
            return before.spec, before.limits
        spec = parse(ModelSpec, manifest.spec)
        return spec, Limits.of(spec, self.settings)

    def _module(self, spec: ModelSpec, manifest: Manifest, spare: Snapshot | None) -> ServedModel:
        if spare is not None and spare.classes == manifest.classes and _has_structure(spare.spec, spec):
            return spare.module
        module = build(spec, manifest.classes, factories=self.settings.factories, seed=0)
        return module.to(self.device).eval()

    def close(self) -> None:
        self._thread.shutdown()


def _has_structure(one: ModelSpec, other: ModelSpec) -> bool:
    """Whether the modules of two specs of a model are alike but for their weights."""
    return (one.network, one.strategy) == (other.network, other.strategy)


@contextmanager
def _readable(name: str, version: int | None = None) -> Iterator[None]:
    """A version whose files are not what was written cannot be served, and none is served in its place."""
    try:
        yield
    except CorruptData as error:
        which = "the live version" if version is None else f"version {version}"
        advice = "" if version is not None else f", or make a whole version live: driftline rollback {name} VERSION"
        message = f"{which} of model {name!r} cannot be served: {error.message}; restore the file{advice}"
        raise Unavailable(message, code=error.code, **error.details) from error


def _warm_up(snapshot: Snapshot, sizes: Iterable[int]) -> None:
    """The first batches of a module cost more than the others; nobody should wait for it."""
    for rows in sizes:
        inputs = {name: np.zeros((rows, *t.shape), t.dtype) for name, t in snapshot.spec.tensors.items()}
        with suppress(RuntimeError):
            snapshot.compute(inputs)

"""Watches the heads of the models in use: prepares each new version beside the live one, then swaps one reference."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from driftline.errors import CorruptData, NotFound, ServerError, Unavailable
from driftline.networks.user_code import reason_of
from driftline.store.catalog import Catalog
from driftline.store.commits import CanaryVersion, CommitLog, Head
from driftline.store.connection import RedisConnection
from driftline.support.failpoints import reach
from driftline.support.tracing import Tracing
from driftline.support.turns import Turns

from .engine import Engine, ModelQueue
from .loaded_models import LoadedModels
from .snapshot import Snapshot
from .traces import trace_serving
from .version_loader import VersionLoader

logger = logging.getLogger("driftline.version_watcher")


@dataclass(frozen=True)
class Refusal:
    """Why a version was not swapped in, and when it is tried again, by the monotonic clock."""

    message: str
    retry_at: float


class VersionWatcher:
    """Keeps the engine's snapshots at the heads. Hints make it quick; polling makes up for lost hints.

    A version that cannot be loaded, or whose network fails, affects its model alone, which goes on with the version it serves.

    Args:
        retry_seconds: how long until a version that was refused is tried again.
        max_pinned: how many versions that were requested by number stay loaded.
        max_bytes: the most memory that loaded models may take, but for those that are in use; 0: any.
        tracing: makes the spans of versions that are served.
    """

    def __init__(
        self,
        connection: RedisConnection,
        engine: Engine,
        loader: VersionLoader,
        poll_seconds: float,
        *,
        retry_seconds: float = 5.0,
        max_pinned: int = 16,
        max_bytes: int = 0,
        tracing: Tracing | None = None,
    ) -> None:
        self.tracing = tracing
        self.connection = connection
        self.catalog = Catalog(connection)
        self.engine = engine
        self.loader = loader
        self.poll_seconds = poll_seconds
        self.retry_seconds = retry_seconds
        self.max_pinned = max_pinned
        self.loaded_models = LoadedModels(engine, max_bytes)
        self.is_ready = False
        self.on_hint: Callable[[str | None], None] = lambda uid: None
        """Called with each hint that comes."""
        self._uids: dict[str, str] = {}
        self._turns = Turns()
        self._pinned: OrderedDict[tuple[str, int], ModelQueue] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self._refusals: dict[str, dict[str, Refusal]] = {}

    def loaded(self, name: str) -> ModelQueue | None:
        """The model with this name, if it is loaded."""
        uid = self._uids.get(name)
        return self.engine.models.get(uid) if uid is not None else None

    async def model(self, name: str) -> ModelQueue:
        """The model with this name, loaded at its first use.

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
        """A version of a model by its number, whatever is live; the most recently used ones stay loaded.

        Raises:
            NotFound: there is no such model or version.
        """
        uid = (await self.model(name)).snapshot.uid
        async with self._locks.setdefault(uid, asyncio.Lock()):
            found = self._pinned.pop((uid, version), None)
            if found is None:
                manifest = (await CommitLog(self.connection, uid).version(version)).manifest
                with _readable(name, version):
                    found = self.engine.model(await self.loader.load(uid, manifest), "pinned")
            self._pinned[uid, version] = found
            while len(self._pinned) > self.max_pinned:
                self._pinned.popitem(last=False)
            return found

    async def listen(self) -> None:
        """Loads new versions at each hint, until cancelled."""
        async for uid in self.connection.hints():
            self.on_hint(uid)
            self.catalog.heard_of(uid)
            if uid is None:
                self._turns.begin_again()
                await self._follow_all()
            elif uid in self.engine.models:
                await self._follow(uid)

    async def poll(self) -> None:
        """Loads new versions by polling, until cancelled."""
        while True:
            await self._follow_all()
            await asyncio.sleep(self.poll_seconds * random.uniform(0.8, 1.2))

    async def _follow_all(self) -> None:
        """Brings every model to its head; while hints come, some of those that nothing was heard of."""
        if not self.is_ready:
            await self.loader.warm_up()
        try:
            self._uids = dict(await self.catalog.newest_names())
            versions = await self.catalog.live_versions(self._turns.next(self.engine.models, self.connection.hears))
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
        except Exception as error:  # Whatever it is: the other models are followed.
            self._refuse(uid, "", error)

    async def _forget_if_deleted(self, uid: str) -> None:
        """Drops a model that was deleted; one that the store has lost goes on serving."""
        with suppress(Unavailable):
            if not await self.catalog.is_named(uid):
                self.forget(uid)

    def forget(self, uid: str) -> None:
        """Drops all snapshots and refusals of a model."""
        self.engine.drop(uid)
        self.loaded_models.changed(uid)
        self._locks.pop(uid, None)
        self._refusals.pop(uid, None)
        for key in [key for key in self._pinned if key[0] == uid]:
            del self._pinned[key]

    async def _load(self, uid: str) -> None:
        async with self._locks.setdefault(uid, asyncio.Lock()):
            head = await CommitLog(self.connection, uid).head()
            self._keep_refusals(uid, head)
            model = self.engine.models.get(uid)
            if model is None:
                # With nothing else to answer by, a network that failed in warm-up serves the rows it can.
                self.engine.swap(await self.loader.load(uid, head.manifest))
            elif model.snapshot.version < head.version:
                with self._contained(uid, head.manifest):
                    await self._swap(model, head.manifest)
            await self._follow_canary(self.engine.models[uid], head.canary)
            self.loaded_models.changed(uid)

    async def _swap(self, model: ModelQueue, manifest: str) -> None:
        before = model.snapshot
        if not self._is_due(before.uid, manifest):
            return
        begin = time.perf_counter()
        snapshot = await self.loader.load(before.uid, manifest, before, model.take_spare(), model.largest)
        if snapshot.failure is not None and before.failure is None:
            raise ServerError(snapshot.failure, code="network_failed")
        reach("app.prepared")
        self.engine.swap(snapshot)
        self.engine.metrics.swap_duration.observe(time.perf_counter() - begin)
        await self._tell_freshness(before, snapshot)

    async def _tell_freshness(self, before: Snapshot, after: Snapshot) -> None:
        """Measures how long the oldest of the labels that a new version adds has waited to be served, and ends its traces."""
        served_at = self.connection.now()
        if after.offset > before.offset:
            with suppress(Unavailable):
                appended_at = await self.catalog.record_time(after.uid, before.offset + 1)
                if appended_at is not None:
                    self.engine.metrics.label_served.observe(max(0.0, served_at - appended_at))
        if self.tracing is not None:
            with suppress(Unavailable, NotFound):
                version = await CommitLog(self.connection, after.uid).version(after.version)
                trace_serving(self.tracing, after.spec.name, version)

    async def _follow_canary(self, model: ModelQueue, canary: CanaryVersion | None) -> None:
        """Lets the head's canary, and no other version, answer its share of the traffic."""
        uid = model.snapshot.uid
        if canary is None:
            model.canary = None
        elif model.canary is None or model.canary.snapshot.version != canary.version:
            with self._contained(uid, canary.manifest):
                if self._is_due(uid, canary.manifest):
                    await self._begin_canary(model, canary)

    async def _begin_canary(self, model: ModelQueue, canary: CanaryVersion) -> None:
        snapshot = await self.loader.load(model.snapshot.uid, canary.manifest)
        if snapshot.failure is not None and model.snapshot.failure is None:
            raise ServerError(snapshot.failure, code="network_failed")
        model.canary, model.canary_share = self.engine.model(snapshot, "canary"), canary.share

    @contextmanager
    def _contained(self, uid: str, manifest: str) -> Iterator[None]:
        """Notes why a version cannot be served; the model goes on with the one it serves."""
        try:
            yield
        except (NotFound, Unavailable):
            raise
        except Exception as error:  # Whatever it is: this model goes on answering, and the others are followed.
            self._refuse(uid, manifest, error)

    def _refuse(self, uid: str, manifest: str, error: Exception) -> None:
        message, refusals = reason_of(error), self._refusals.setdefault(uid, {})
        if manifest not in refusals or refusals[manifest].message != message:
            self.engine.metrics.swap_failures.inc()
            cause = error.__cause__ if isinstance(error, ServerError) else None
            logger.error("model %s stays at its version: %s", uid, message, exc_info=cause)
        refusals[manifest] = Refusal(message, time.monotonic() + self.retry_seconds)

    def _is_due(self, uid: str, manifest: str) -> bool:
        """Whether a version is to be tried: one that was refused waits for ``retry_seconds``."""
        refusal = self._refusals.get(uid, {}).get(manifest)
        return refusal is None or time.monotonic() >= refusal.retry_at

    def _keep_refusals(self, uid: str, head: Head) -> None:
        """Forgets refusals of versions that the head no longer names, or that are served by now."""
        model = self.engine.models.get(uid)
        waiting = {head.manifest} if model is not None and model.snapshot.version < head.version else set()
        waiting |= {head.canary.manifest} if head.canary is not None else set()
        refusals = {manifest: why for manifest, why in self._refusals.pop(uid, {}).items() if manifest in waiting}
        if refusals:
            self._refusals[uid] = refusals

    def swap_failure(self, uid: str) -> str | None:
        """Why a model does not serve its live version, or that version fails on some rows; None: neither is so."""
        model = self.engine.models.get(uid)
        if model is None:
            return None
        for refusal in self._refusals.get(uid, {}).values():
            return f"version {model.snapshot.version} goes on answering: {refusal.message}"
        return model.snapshot.failure

    def swap_failures(self) -> dict[str, str]:
        """Each :meth:`swap_failure` by the model's name."""
        found = ((model.snapshot.spec.name, self.swap_failure(uid)) for uid, model in self.engine.models.items())
        return {name: message for name, message in found if message is not None}

    def close(self) -> None:
        self.loader.close()


@contextmanager
def _readable(name: str, version: int | None = None) -> Iterator[None]:
    """A version with damaged files cannot be served, and no other is served in its place."""
    try:
        yield
    except CorruptData as error:
        which = "the live version" if version is None else f"version {version}"
        advice = "" if version is not None else f", or make a whole version live: driftline rollback {name} VERSION"
        message = f"{which} of model {name!r} cannot be served: {error.message}; restore the file{advice}"
        raise Unavailable(message, code=error.code, **error.details) from error

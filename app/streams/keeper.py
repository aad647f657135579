"""Runs the sources of rows of all models: of several processes each model's by one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Sequence

from driftline.errors import Unavailable
from driftline.settings import Settings
from driftline.sources.base import Source
from driftline.sources.model_sources import ModelSources
from driftline.sources.registry import parse_sources
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import INSTANCE
from driftline.store.log import Log
from driftline.store.source_lags import RowLags
from driftline.store.sources import all_stored, parse_stored
from driftline.store.watermarks import Cap
from driftline.support.tasks import Troubles

from ..engine import Engine
from ..version_watcher import VersionWatcher
from .row_intake import RowIntake

LOOK_SECONDS = 10.0
"""How often it looks at all models; in between at those that hints are about."""
MODELS_AT_ONCE = 200


class RowSources:
    """Follows how sources of rows are configured, and runs those whose model no other process has claimed.

    Args:
        troubles: lists each while it fails.
        claim_ms: how long a claim outlives its process.
        retry_seconds: seconds until a source that has failed is tried again; longer after each failure.
    """

    def __init__(
        self,
        connection: RedisConnection,
        watcher: VersionWatcher,
        engine: Engine,
        settings: Settings,
        troubles: Troubles,
        claim_ms: int = 10_000,
        retry_seconds: float = 1.0,
    ) -> None:
        self.connection = connection
        self.catalog = Catalog(connection)
        self.lags = RowLags(connection)
        self.watcher = watcher
        self.engine = engine
        self.settings = settings
        self.troubles = troubles
        self.claim_ms = claim_ms
        self.retry_seconds = retry_seconds
        self.owner = secrets.token_hex(8)
        self.fixed = [source for source in parse_sources(settings.sources)[0] if source.mode == "infer"]
        self._models: dict[str, ModelSources] = {}
        self._wanted: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._heard: set[str] = set()
        self._look_at = -float("inf")

    def hint(self, uid: str | None) -> None:
        """Takes a hint: the sources of that model may have been changed; None: those of any."""
        if uid is None:
            self._look_at = -float("inf")
        else:
            self._heard.add(uid)

    async def run(self) -> None:
        """Runs sources, until cancelled."""
        while True:
            with contextlib.suppress(Unavailable):
                await self._follow()
            await asyncio.sleep(min(self.settings.poll_seconds, self.claim_ms / 4000) * random.uniform(0.8, 1.2))

    async def close(self) -> None:
        """Ends the sources that run here, and leaves them to other processes."""
        for uid in [*self._models]:
            await self._leave(uid)

    async def _follow(self) -> None:
        heard, self._heard = self._heard, set()
        if time.monotonic() >= self._look_at or heard - self._names.keys():
            self._names = {uid: name for name, uid in (await self.catalog.names()).items()}
            self._look_at, heard = time.monotonic() + LOOK_SECONDS, {*self._names}
        looked = [uid for uid in {*heard, *self._wanted} if uid in self._names]
        for first in range(0, len(looked), MODELS_AT_ONCE):
            for uid, found in (await all_stored(self.connection, looked[first : first + MODELS_AT_ONCE])).items():
                await self._apply(uid, self._names[uid], found)
        for uid in [uid for uid in self._models if uid not in self._names]:
            await self._leave(uid)
            self._wanted.pop(uid, None)

    async def _apply(self, uid: str, name: str, found: dict[bytes, bytes]) -> None:
        fixed = [source for source in self.fixed if source.model == name]
        is_any = bool(fixed) or any(each.spec.get("mode") == "infer" for each in parse_stored(found).values())
        if not is_any and uid not in self._models:
            self._wanted.pop(uid, None)
            return
        self._wanted[uid] = name
        if not await self._is_mine(uid):
            await self._leave(uid)
            return
        if uid not in self._models:
            self._models[uid] = self._made(uid, name, fixed)
        model = self._models[uid]
        await model.apply(found)
        if is_any:
            await self.lags.tell(uid, model.lags())
        else:
            await self._leave(uid)
            self._wanted.pop(uid, None)

    def _made(self, uid: str, name: str, fixed: Sequence[Source]) -> ModelSources:
        cap, receipts = Cap.of(self.settings), self.settings.receipt_seconds
        log = Log(self.connection, uid, cap=cap, receipt_seconds=receipts)

        def intake(source: Source, source_name: str, key: str, configured: bytes) -> RowIntake:
            return self.intake(log, name, source, source_name, key, configured)

        own = {source.name: source for source in fixed}
        folders, retry = self.settings.source_folders, self.retry_seconds
        return ModelSources(log, own, self.troubles, intake, "infer", folders, retry)

    def intake(self, log: Log, model: str, source: Source, name: str, key: str, configured: bytes = b"") -> RowIntake:
        """What takes the rows of a source of a model."""
        return RowIntake(
            log,
            source,
            name,
            key,
            configured,
            model=model,
            watcher=self.watcher,
            engine=self.engine,
            predictions=self.engine.prediction_writer,
        )

    def _claim(self, uid: str) -> str:
        return self.connection.keys.of(INSTANCE).item(f"rows:{uid}")

    async def _is_mine(self, uid: str) -> bool:
        """Whether this process runs the sources of rows of a model, now and for a while. Two that do so for a moment disturb
        nothing: a position is moved by one of them."""
        return bool(await self.connection.scripts.run("hold", [self._claim(uid)], [self.owner, self.claim_ms]))

    async def _leave(self, uid: str) -> None:
        model = self._models.pop(uid, None)
        if model is None:
            return
        await model.close()
        with contextlib.suppress(Unavailable), store_errors():
            # Another process need not wait for the claim to run out.
            if await self.connection.redis.get(self._claim(uid)) == self.owner.encode():
                await self.lags.forget(uid)
                await self.connection.redis.delete(self._claim(uid))

"""What the routes work with: one object that the lifespan opens and closes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request

from driftline.ingest.feedback import FeedbackDecoder
from driftline.processes.plan import require_redis
from driftline.settings import Settings
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.commits import CommitLog
from driftline.store.connection import RedisConnection
from driftline.store.log import Log
from driftline.store.predictions import PredictionReader, PredictionWriter
from driftline.store.watermarks import Cap

from .engine import Engine
from .metrics import Metrics
from .version_watcher import VersionWatcher


class Services:
    """The store, the engine and what follows the heads, for one serving process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connection = RedisConnection(require_redis(settings), settings.prefix)
        self.catalog = Catalog(self.connection)
        self.artifacts = Artifacts(settings.data_dir / "artifacts")
        self.measures = Metrics()
        self.prediction_writer = PredictionWriter(
            self.connection, horizon=settings.join_horizon, budget=settings.prediction_bytes
        )
        self.engine = Engine(self.prediction_writer, self.measures)
        self.version_watcher = VersionWatcher(self.connection, self.artifacts, self.engine, settings)
        self._decoders: dict[str, FeedbackDecoder] = {}

    def log(self, uid: str) -> Log:
        return Log(self.connection, uid, cap=Cap.of(self.settings), receipt_seconds=self.settings.receipt_seconds)

    def commit_log(self, uid: str) -> CommitLog:
        return CommitLog(self.connection, uid)

    def predictions(self, uid: str) -> PredictionReader:
        return PredictionReader(self.connection, uid, self.settings.join_horizon)

    async def feedback_decoder(self, name: str) -> tuple[str, FeedbackDecoder]:
        """The uid of a model, and what parses its feedback: kept for as long as its spec stays."""
        snapshot = (await self.version_watcher.model(name)).snapshot
        decoder = self._decoders.get(snapshot.uid)
        if decoder is None or decoder.spec != snapshot.spec:
            decoder = self._decoders[snapshot.uid] = FeedbackDecoder(snapshot.spec)
        return snapshot.uid, decoder

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """What runs for as long as the app does."""
        watch = self.connection.watch()
        return [
            self.version_watcher.listen(),
            self.version_watcher.poll(),
            self.prediction_writer.run(),
            self._sample(),
            watch,
        ]

    async def _sample(self) -> None:
        """Keeps what other replicas read of this one fresh."""
        while True:
            self.measures.sample(self.engine, self.prediction_writer)
            await asyncio.sleep(self.settings.poll_seconds)

    async def close(self) -> None:
        self.engine.close()
        self.version_watcher.close()
        await self.connection.close()


def services(request: Request) -> Services:
    """The services of the app that answers ``request``."""
    found: Services = request.app.state.services
    return found


Has = Annotated[Services, Depends(services)]

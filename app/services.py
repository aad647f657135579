"""What the routes work with: one object that the lifespan opens and closes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request

from app.engine import Engine
from app.hotswap import Follower
from app.measures import Measures
from driftline.feedback import FeedbackDecoder
from driftline.local import require_redis
from driftline.settings import Settings
from driftline.store.artifacts import Artifacts
from driftline.store.backlog import Cap
from driftline.store.catalog import Catalog
from driftline.store.connection import Connection
from driftline.store.head import History
from driftline.store.log import Log
from driftline.store.predictions import Predictions, Recorder


class Services:
    """The store, the engine and what follows the heads, for one serving process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connection = Connection(require_redis(settings), settings.prefix)
        self.catalog = Catalog(self.connection)
        self.artifacts = Artifacts(settings.data_dir / "artifacts")
        self.measures = Measures()
        self.recorder = Recorder(self.connection, horizon=settings.join_horizon, budget=settings.prediction_bytes)
        self.engine = Engine(self.recorder, self.measures)
        self.follower = Follower(self.connection, self.artifacts, self.engine, settings)
        self._decoders: dict[str, FeedbackDecoder] = {}

    def log(self, uid: str) -> Log:
        return Log(self.connection, uid, cap=Cap.of(self.settings), receipt_seconds=self.settings.receipt_seconds)

    def history(self, uid: str) -> History:
        return History(self.connection, uid)

    def predictions(self, uid: str) -> Predictions:
        return Predictions(self.connection, uid, self.settings.join_horizon)

    async def feedback_decoder(self, name: str) -> tuple[str, FeedbackDecoder]:
        """The uid of a model, and what parses its feedback: kept for as long as its spec stays."""
        snapshot = (await self.follower.model(name)).snapshot
        decoder = self._decoders.get(snapshot.uid)
        if decoder is None or decoder.spec != snapshot.spec:
            decoder = self._decoders[snapshot.uid] = FeedbackDecoder(snapshot.spec)
        return snapshot.uid, decoder

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """What runs for as long as the app does."""
        watch = self.connection.watch()
        return [self.follower.listen(), self.follower.poll(), self.recorder.run(), self._sample(), watch]

    async def _sample(self) -> None:
        """Keeps what other replicas read of this one fresh."""
        while True:
            self.measures.sample(self.engine, self.recorder)
            await asyncio.sleep(self.settings.poll_seconds)

    async def close(self) -> None:
        self.engine.close()
        self.follower.close()
        await self.connection.close()


def services(request: Request) -> Services:
    """The services of the app that answers ``request``."""
    found: Services = request.app.state.services
    return found


Has = Annotated[Services, Depends(services)]

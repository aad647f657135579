"""Removes what deleted models and dead workers have left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from driftline.errors import Unavailable
from driftline.settings import Settings
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.workers import Workers

from .turns import TurnFile

logger = logging.getLogger("driftline.worker")

NOTE_SECONDS = 600.0
"""A note that was not written again for so long is of a dead worker."""


class Sweeper:
    """Sweeps every ``sweep_seconds``: keys and files of models without a name, turn files and heartbeats of dead workers."""

    def __init__(self, connection: RedisConnection, artifacts: Artifacts, turns: TurnFile, settings: Settings) -> None:
        self.connection = connection
        self.catalog = Catalog(connection)
        self.workers = Workers(connection)
        self.artifacts = artifacts
        self.turns = turns
        self.settings = settings

    async def run(self) -> None:
        """Sweeps until cancelled: models that were deleted, or whose creation was interrupted, lose what is left of them."""
        while True:
            are_ours = await self._are_files_ours()
            await asyncio.sleep(self.settings.sweep_seconds)
            age = self.settings.orphan_seconds
            with contextlib.suppress(Unavailable):
                for uid in await self.catalog.remove_unnamed(age):
                    logger.info("the keys of model %s go: it has no name", uid)
                await self.workers.remove_lost()
            await asyncio.to_thread(self.turns.remove_abandoned, age, time.time())
            with contextlib.suppress(Unavailable):
                await asyncio.to_thread(self.artifacts.remove_abandoned_notes, max(age, NOTE_SECONDS))
            if are_ours:
                with contextlib.suppress(Unavailable):
                    await self._remove_abandoned()

    async def _are_files_ours(self) -> bool:
        with contextlib.suppress(Unavailable):
            await self.catalog.names()
            store_id = self.connection.store_id
            if store_id is not None and await asyncio.to_thread(self.artifacts.are_of, store_id):
                return True
            logger.warning(
                "%s holds the files of another store: none of them is removed; restore that store's backup, or use "
                "another data directory",
                self.artifacts.place,
            )
        return False

    async def _remove_abandoned(self) -> None:
        known = set((await self.catalog.names()).values())
        for uid in await asyncio.to_thread(self.artifacts.abandoned, known, self.settings.orphan_seconds):
            logger.info("the files of model %s go: it has no name", uid)
            await asyncio.to_thread(self.artifacts.remove, uid)

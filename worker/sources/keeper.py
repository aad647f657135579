"""Runs the sources of labels of the models that a worker owns."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Collection, Iterator, Mapping, Sequence

from driftline.errors import Unavailable
from driftline.sources.base import Source
from driftline.sources.model_sources import ModelSources
from driftline.store.connection import RedisConnection
from driftline.store.events import EventRecord, happen
from driftline.store.source_lags import SourceLag
from driftline.store.sources import all_stored
from driftline.support.tasks import Troubles
from driftline.support.turns import Turns

from ..model_store import ModelStore
from .label_intake import LabelIntake

logger = logging.getLogger("driftline.sources")


def label_sources(
    store: ModelStore, fixed: Mapping[str, Source], troubles: Troubles, retry_seconds: float = 1.0
) -> ModelSources:
    """The sources of labels of a model that is owned; ``fixed`` are those of the setting."""

    def intake(source: Source, name: str, key: str, configured: bytes) -> LabelIntake:
        return LabelIntake(store, source, name, key, configured)

    folders = store.settings.source_folders
    return ModelSources(store.log, fixed, troubles, intake, "labels", folders, retry_seconds)


class SourceKeeper:
    """The sources of all models that one worker owns.

    Args:
        fixed: those of the setting ``DRIFTLINE_SOURCES``, with their models.
        unread: what is wrong with others of the setting.
        poll_seconds: how often it looks for what was configured.
    """

    def __init__(
        self,
        connection: RedisConnection,
        fixed: Sequence[Source],
        unread: Sequence[str],
        troubles: Troubles,
        poll_seconds: float,
    ) -> None:
        self.connection = connection
        self.fixed = fixed
        self.unread = unread
        self.troubles = troubles
        self.poll_seconds = poll_seconds
        self._models: dict[str, ModelSources] = {}
        self._look = asyncio.Event()
        self._told: set[str] = set()
        self._turns = Turns()
        self._heard: set[str] = set()

    def heard_of(self, uid: str | None) -> None:
        """Takes a hint: the sources of that model may have been changed; None: those of any."""
        if uid is None:
            self._turns.begin_again()
        elif uid in self._models:
            self._heard.add(uid)

    def add(self, name: str, store: ModelStore) -> None:
        """Begins to read the sources of a model that is owned now."""
        own = {source.name: source for source in self.fixed if source.model == name}
        self._models[store.uid] = label_sources(store, own, self.troubles)
        self._heard.add(store.uid)
        self._look.set()

    async def remove(self, uid: str) -> None:
        """Ends the sources of a model that is owned no longer."""
        found = self._models.pop(uid, None)
        if found is not None:
            await found.close()

    async def run(self) -> None:
        """Follows what is configured, until cancelled."""
        while True:
            self._look.clear()
            with contextlib.suppress(Unavailable):
                await self._follow()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.poll_seconds * random.uniform(0.8, 1.2)):
                    await self._look.wait()

    async def _follow(self) -> None:
        heard, self._heard = self._heard, set()
        turn = self._turns.next(self._models, self.connection.hears)
        try:
            all_found = await all_stored(self.connection, [*dict.fromkeys([*turn, *heard])])
        except Unavailable:
            self._heard |= heard
            raise
        for uid, found in all_found.items():
            model = self._models.get(uid)
            if model is not None:
                await model.apply(found)

    async def check(self, names: Collection[str]) -> None:
        """Logs, and puts among the events of the instance, which sources of the setting are not read, and why: each once."""
        lost = [
            f"DRIFTLINE_SOURCES: the source {source.name} is for the model {source.model!r}, which there is not"
            for source in self.fixed
            if source.model not in names
        ]
        for message in [*self.unread, *lost]:
            if message not in self._told:
                self._told.add(message)
                logger.error("%s", message)
                token = f"source:{hashlib.sha256(message.encode()).hexdigest()[:16]}"
                await happen(self.connection, token, EventRecord("source", message, "worker"))

    def lags(self) -> Iterator[SourceLag]:
        """What each has left to read."""
        for model in self._models.values():
            yield from model.lags()

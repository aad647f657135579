"""Appends what a source reads to a model's log, each entry once."""

from __future__ import annotations

import asyncio
import logging
import time

from driftline.errors import Busy, DriftlineError
from driftline.ingest import feedback
from driftline.ingest.feedback import FeedbackDecoder
from driftline.ingest.sources import Source
from driftline.spec import ModelSpec, parse
from driftline.store.connection import store_errors
from driftline.store.log import Cursor
from driftline.store.predictions import PredictionReader
from driftline.support.failpoints import reach
from driftline.support.tasks import Troubles, supervised

from ..model_store import ModelStore

logger = logging.getLogger("driftline.sources")


class Intake:
    """Appends the entries of one source to the log. The script that appends items also moves the position of the source.

    Args:
        store: the store of the model.
        key: the name of the source and its position.
        troubles: lists the source while it fails.
        retry_seconds: seconds until a failed source, or a full log, is tried again; longer after each failure.
    """

    def __init__(
        self, store: ModelStore, key: str, troubles: Troubles | None = None, retry_seconds: float = 1.0
    ) -> None:
        self.store = store
        self.key = key
        self.troubles = troubles or Troubles()
        self.retry_seconds = retry_seconds
        self.predictions = PredictionReader(store.connection, store.uid, store.settings.join_horizon)
        self.refused = 0
        self._current_at: float | None = None

    @property
    def name(self) -> str:
        """Its name in logs and troubles."""
        return f"source {self.key} of {self.store.uid}"

    async def run(self, source: Source) -> None:
        """Runs a source for as long as the model is owned. The user's stream may fail in any way: each failure raises an
        alarm, and the source goes on from its last position."""
        await supervised(
            self.name,
            lambda: source.run(self),
            self.troubles,
            on_failure=lambda error: self._alarm(f"{self.key}: {type(error).__name__}: {error}"),
            first_delay=self.retry_seconds,
        )

    @property
    def lag(self) -> float | None:
        """How long ago all that the stream held had been taken, or since when it is read; None: the source does not tell."""
        return None if self._current_at is None else time.monotonic() - self._current_at

    def tell_lag(self, is_behind: bool) -> None:
        """Notes whether the stream holds more than was taken."""
        if self._current_at is None or not is_behind:
            self._current_at = time.monotonic()

    async def position(self) -> str:
        """The position that the source has been read to; empty at first."""
        with store_errors():
            found = await self.store.connection.redis.hget(self.store.keys.sources, self.key)
        return found.decode() if found else ""

    async def take(self, items: list[bytes], ids: list[str], before: str, after: str) -> None:
        """Appends feedback items (JSON each) and moves the position, at once or not at all."""
        decoder = FeedbackDecoder(parse(ModelSpec, await self.store.spec()))
        cursor = Cursor(self.key, before, after)
        while True:
            try:
                outcomes = await feedback.append(self.store.log, self.predictions, decoder, items, ids, cursor)
                break
            except Busy as error:
                await asyncio.sleep(error.retry_after or self.retry_seconds)
        self.troubles.over(self.name)
        reach("source.appended")
        refused = [(ids[index], outcome.error) for index, outcome in enumerate(outcomes) if outcome.error is not None]
        if refused:
            self.refused += len(refused)
            name, reason = refused[-1]
            await self._alarm(f"{self.key}: {self.refused} entries refused; the last one, {name}: {reason}")

    async def _alarm(self, message: str) -> None:
        try:
            await self.store.alarm("source", message)
        except DriftlineError as error:
            logger.warning("source %s: %s", self.key, error)

"""Appends the labels that a source reads to a model's log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from driftline.errors import Busy, Conflict, DriftlineError, InvalidInput
from driftline.ingest import feedback
from driftline.ingest.feedback import ItemOutcome
from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.sources.base import Source, SourceBatch, SourceRecord
from driftline.sources.intake import Intake
from driftline.sources.items import ItemReader, SourceItem
from driftline.spec import ModelSpec, parse
from driftline.store.log import Cursor
from driftline.store.predictions import PredictionReader
from driftline.support.failpoints import reach

from ..model_store import ModelStore

logger = logging.getLogger("driftline.sources")

Pair = tuple[SourceRecord, SourceItem]


class LabelIntake(Intake):
    """Takes labels: the script that appends them also moves the position of the source. While the log is full it waits."""

    def __init__(self, store: ModelStore, source: Source, name: str, key: str) -> None:
        super().__init__(store.log, source, name, key)
        self.store = store
        self.predictions = PredictionReader(store.connection, store.uid, store.settings.join_horizon)
        self._readers: tuple[ModelSpec, FeedbackDecoder, ItemReader] | None = None

    async def take(self, batch: SourceBatch, before: str) -> None:
        decoder, items_of = await self._current()
        found = [(record, item) for record in batch.records for item in items_of.items(record)]
        wrong = [(record, item.id, item.error) for record, item in found if item.error is not None]
        await self.bury(wrong)
        good = [(record, item) for record, item in found if item.error is None]
        cursor = Cursor(self.key, before, batch.position)
        refused = len(wrong) + await self._append(decoder, good, cursor)
        self.refused += refused
        self.taken += len(found) - refused
        reach("source.appended")

    async def _current(self) -> tuple[FeedbackDecoder, ItemReader]:
        """What reads items by the model's spec of now: classes and fields may have come."""
        spec = parse(ModelSpec, await self.store.spec())
        if self._readers is None or self._readers[0] != spec:
            self._readers = spec, FeedbackDecoder(spec), ItemReader(self.source, spec, self.key)
        return self._readers[1:]

    async def _append(self, decoder: FeedbackDecoder, good: list[Pair], cursor: Cursor) -> int:
        """Appends items; how many were refused."""
        refused = 0

        async def keep(outcomes: Sequence[ItemOutcome | None]) -> None:
            nonlocal refused
            wrong = [
                (record, item.id, outcome.error)
                for (record, item), outcome in zip(good, outcomes, strict=True)
                if outcome is not None and outcome.error is not None
            ]
            refused = len(wrong)
            await self.bury(wrong)

        while True:
            try:
                texts, ids = [item.json for _, item in good], [item.id for _, item in good]
                await feedback.append(self.log, self.predictions, decoder, texts, ids, cursor, before_append=keep)
                return refused
            except Busy as error:
                await self.on_wait(str(error))
                await asyncio.sleep(error.retry_after or self.retry_seconds)
            except Conflict as error:
                if error.code != "ids_taken":
                    raise
                places = set(error.details["places"])
                taken = InvalidInput("id: it came before, with another content", code="conflict", field="id")
                await self.bury([(good[place][0], good[place][1].id, taken) for place in places])
                left = [pair for place, pair in enumerate(good) if place not in places]
                return len(places) + await self._append(decoder, left, cursor)
            except DriftlineError:
                raise
            except Exception as error:  # One of the items is what no check has met: the others are taken.
                logger.exception("source %s: items are appended one by one after %s", self.name, error)
                return await self._one_by_one(decoder, good, cursor)

    async def _one_by_one(self, decoder: FeedbackDecoder, good: list[Pair], cursor: Cursor) -> int:
        """Appends items each by itself: resent, each is known by its id. The position moves after them."""
        refused = 0
        for record, item in good:
            error: DriftlineError | None
            try:
                (outcome,) = await feedback.append(self.log, self.predictions, decoder, [item.json], [item.id])
                error = outcome.error
            except DriftlineError:
                raise
            except Exception as failure:
                error = InvalidInput(f"record: {type(failure).__name__}: {failure}", field="record")
            if error is not None:
                refused += 1
                await self.bury([(record, item.id, error)])
        await self.log.append([], cursor=cursor)
        return refused

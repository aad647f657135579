"""Appends what a source reads to a model's log, each record once, and keeps what cannot be taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from driftline.errors import Busy, Conflict, DriftlineError, InvalidInput
from driftline.ingest import feedback
from driftline.ingest.feedback import ItemOutcome
from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.sources.base import Source, SourceBatch, SourceRecord
from driftline.sources.items import ItemReader, SourceItem
from driftline.spec import ModelSpec, parse
from driftline.store.log import Cursor
from driftline.store.predictions import PredictionReader
from driftline.store.sources import MAX_RAW_BYTES, DeadLetter, SourceBook
from driftline.support.failpoints import reach

from ..model_store import ModelStore

logger = logging.getLogger("driftline.sources")


class Intake:
    """Takes the batches of one source. The script that appends items also moves the position of the source; what cannot be
    taken is kept before that, each record once by its place, so that a crash in between loses and doubles nothing.

    Args:
        store: the store of the model.
        source: what is read.
        name: what it goes by among the sources of the model.
        key: what its position is stored under.
        on_wait: told why reading waits, while the log is full.
        retry_seconds: seconds until a full log is tried again, where it does not say.
    """

    def __init__(
        self,
        store: ModelStore,
        source: Source,
        name: str,
        key: str,
        on_wait: Callable[[str], Awaitable[None]] | None = None,
        retry_seconds: float = 1.0,
    ) -> None:
        self.store = store
        self.source = source
        self.name = name
        self.key = key
        self.on_wait = on_wait
        self.retry_seconds = retry_seconds
        self.book = SourceBook(store.connection, store.uid)
        self.predictions = PredictionReader(store.connection, store.uid, store.settings.join_horizon)
        self.taken = 0
        self.refused = 0
        self._readers: tuple[ModelSpec, FeedbackDecoder, ItemReader] | None = None

    async def position(self) -> str:
        """The position that the source has been read to; empty at first."""
        return await self.book.position(self.key)

    async def take(self, batch: SourceBatch, before: str) -> None:
        """Appends the items of a batch and moves the position, at once or not at all. While the log is full it waits.

        Raises:
            Conflict: ``source_moved``: the position is not ``before``: another reader has read on.
            Unavailable: the store does not answer; the same batch may be taken again.
        """
        decoder, items_of = await self._current()
        found = [(record, item) for record in batch.records for item in items_of.items(record)]
        wrong = [(record, item, item.error) for record, item in found if item.error is not None]
        await self._bury(wrong)
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

    async def _append(
        self, decoder: FeedbackDecoder, good: list[tuple[SourceRecord, SourceItem]], cursor: Cursor
    ) -> int:
        """Appends items; how many were refused."""
        refused = 0

        async def keep(outcomes: Sequence[ItemOutcome | None]) -> None:
            nonlocal refused
            wrong = [
                (*pair, outcome.error)
                for pair, outcome in zip(good, outcomes, strict=True)
                if outcome is not None and outcome.error is not None
            ]
            refused = len(wrong)
            await self._bury(wrong)

        while True:
            try:
                texts, ids = [item.json for _, item in good], [item.id for _, item in good]
                await feedback.append(self.store.log, self.predictions, decoder, texts, ids, cursor, before_append=keep)
                return refused
            except Busy as error:
                if self.on_wait is not None:
                    await self.on_wait(str(error))
                await asyncio.sleep(error.retry_after or self.retry_seconds)
            except Conflict as error:
                if error.code != "ids_taken":
                    raise
                places = set(error.details["places"])
                taken = InvalidInput("id: it came before, with another content", code="conflict", field="id")
                await self._bury([(*good[place], taken) for place in places])
                left = [pair for place, pair in enumerate(good) if place not in places]
                return len(places) + await self._append(decoder, left, cursor)
            except DriftlineError:
                raise
            except Exception as error:  # One of the items is what no check has met: the others are taken.
                logger.exception("source %s: items are appended one by one after %s", self.name, error)
                return await self._one_by_one(decoder, good, cursor)

    async def _one_by_one(
        self, decoder: FeedbackDecoder, good: list[tuple[SourceRecord, SourceItem]], cursor: Cursor
    ) -> int:
        """Appends items each by itself: resent, each is known by its id. The position moves after them."""
        refused = 0
        for record, item in good:
            error: DriftlineError | None
            try:
                (outcome,) = await feedback.append(self.store.log, self.predictions, decoder, [item.json], [item.id])
                error = outcome.error
            except DriftlineError:
                raise
            except Exception as failure:
                error = InvalidInput(f"record: {type(failure).__name__}: {failure}", field="record")
            if error is not None:
                refused += 1
                await self._bury([(record, item, error)])
        await self.store.log.append([], cursor=cursor)
        return refused

    async def _bury(self, wrong: Sequence[tuple[SourceRecord, SourceItem, DriftlineError]]) -> None:
        if not wrong:
            return
        now = self.store.now()
        await self.book.bury(
            DeadLetter(
                id=item.id.removeprefix("s:"),
                source=self.name,
                place=record.place,
                reason=error.message[:500],
                raw=record.raw[:MAX_RAW_BYTES],
                format=record.format,
                time=now,
                is_cut=len(record.raw) > MAX_RAW_BYTES,
            )
            for record, item, error in wrong
        )
        reach("source.buried")

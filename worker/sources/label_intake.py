"""Appends the labels that a source reads to a model's log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from driftline.errors import Busy, Conflict, DriftlineError, InvalidInput
from driftline.ingest import feedback
from driftline.ingest.feedback import ItemOutcome
from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.records import stream_caller
from driftline.sources.base import Source, SourceBatch, SourceRecord
from driftline.sources.intake import Intake, Refused
from driftline.sources.items import ItemReader, SourceItem
from driftline.spec import ModelSpec, parse
from driftline.store.log import MAX_RECORDS, Cursor
from driftline.store.predictions import PredictionReader
from driftline.store.sources import WaitingLabel
from driftline.support.failpoints import reach

from ..model_store import ModelStore
from .waiting_labels import WaitingLabels

logger = logging.getLogger("driftline.sources")

Pair = tuple[SourceRecord, SourceItem]


TEND_SECONDS = 0.5
"""How often it looks whether predictions have come that labels wait for."""


class LabelIntake(Intake):
    """Takes labels: the script that appends them also moves the position of the source. While the log is full it waits.

    A label by a key under which there is no prediction yet is kept for ``wait_seconds`` of the source, before the position
    moves, and is taken when the prediction has come; one of the same key that comes later does not pass it.
    """

    def __init__(self, store: ModelStore, source: Source, name: str, key: str, configured: bytes = b"") -> None:
        super().__init__(store.log, source, name, key, configured)
        self.store = store
        self.caller = stream_caller(name)
        # Who waits for predictions anyway is not kept waiting by each.
        options = {"key_seconds": 0.0} if source.wait_seconds else {}
        self.predictions = PredictionReader(store.connection, store.uid, store.settings.join_horizon, **options)
        self.labels = WaitingLabels(self.book, name, source.wait_seconds)
        self._tended_at = -float("inf")
        self._readers: tuple[ModelSpec, FeedbackDecoder, ItemReader] | None = None

    async def begin(self) -> None:
        await super().begin()
        await self.labels.load()
        self.waiting = len(self.labels)

    async def tend(self) -> None:
        """Takes the labels whose predictions have come, and gives up those whose time is over."""
        if not self.labels or time.monotonic() - self._tended_at < TEND_SECONDS:
            return
        joined, over = await self.labels.due()
        decoder, _ = await self._current()
        for first in range(0, len(joined), MAX_RECORDS):
            if not await self._join(decoder, joined[first : first + MAX_RECORDS]):
                break
        await self._give_up(over)
        self.waiting = len(self.labels)
        self._tended_at = time.monotonic()

    async def _join(self, decoder: FeedbackDecoder, labels: list[WaitingLabel]) -> bool:
        """Appends labels whose predictions have come; false while there is no room for them."""
        try:
            texts, ids = [label.item for label in labels], [label.id for label in labels]
            outcomes = await feedback.append(self.log, self.predictions, decoder, texts, ids, caller=self.caller)
        except Busy as error:
            await self.on_wait(str(error))
            return False
        refused = [(label, outcome.error) for label, outcome in zip(labels, outcomes, strict=True) if outcome.error]
        await self.bury([(_record(label), label.id, error) for label, error in refused])
        await self.labels.remove(labels)
        self.refused += len(refused)
        self.taken += len(labels) - len(refused)
        return True

    async def _give_up(self, labels: list[WaitingLabel]) -> None:
        reason = f"no prediction has come under its key within {self.source.wait_seconds:g} s"
        error = InvalidInput(f"key: {reason}", code="key_unknown", field="key")
        await self.bury([(_record(label), label.id, error) for label in labels])
        await self.labels.remove(labels)
        self.refused += len(labels)

    async def take(self, batch: SourceBatch, before: str) -> None:
        decoder, items_of = await self._current()
        await items_of.learn(batch.records)
        found = [(record, item) for record in batch.records for item in items_of.items(record)]
        wrong = [(record, item.id, item.error) for record, item in found if item.error is not None]
        await self.bury(wrong)
        good = [(record, item) for record, item in found if item.error is None]
        await self._make_room()
        after = [(record, item, key) for record, item in good if (key := self.labels.key_of(item)) is not None]
        await self.labels.add(after)
        held = {item.id for _, item, _ in after}
        good = [(record, item) for record, item in good if item.id not in held]
        cursor, waited = self.cursor(before, batch.position), len(self.labels)
        refused = len(wrong) + await self._append(decoder, good, cursor)
        self.refused += refused
        self.taken += len(found) - len(after) - refused - (len(self.labels) - waited)
        self.waiting = len(self.labels)
        reach("source.appended")

    async def _make_room(self) -> None:
        while self.labels.is_full:
            await self.on_wait(f"{len(self.labels):,} labels wait for their predictions")
            await asyncio.sleep(self.retry_seconds)
            await self.tend()

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
            failed = [
                (record, item, outcome.error)
                for (record, item), outcome in zip(good, outcomes, strict=True)
                if outcome is not None and outcome.error is not None
            ]
            refused = await self._keep(failed)

        while True:
            try:
                texts, ids = [item.json for _, item in good], [item.id for _, item in good]
                await feedback.append(
                    self.log, self.predictions, decoder, texts, ids, cursor, caller=self.caller, before_append=keep
                )
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

    async def _keep(self, failed: Sequence[tuple[SourceRecord, SourceItem, DriftlineError]]) -> int:
        """Lets labels wait that came before their predictions, and keeps the others as what cannot be taken: how many."""
        may_wait = bool(self.source.wait_seconds)
        wrong, early = list[Refused](), list[tuple[SourceRecord, SourceItem, str]]()
        for record, item, error in failed:
            if may_wait and error.code == "key_unknown":
                early.append((record, item, str(error.details["value"])))
            else:
                wrong.append((record, item.id, error))
        await self.labels.add(early)
        await self.bury(wrong)
        return len(wrong)

    async def _one_by_one(self, decoder: FeedbackDecoder, good: list[Pair], cursor: Cursor) -> int:
        """Appends items each by itself: resent, each is known by its id. The position moves after them."""
        refused = 0
        for record, item in good:
            error: DriftlineError | None
            try:
                (outcome,) = await feedback.append(
                    self.log, self.predictions, decoder, [item.json], [item.id], caller=self.caller
                )
                error = outcome.error
            except DriftlineError:
                raise
            except Exception as failure:
                error = InvalidInput(f"record: {type(failure).__name__}: {failure}", field="record")
            if error is not None:
                refused += await self._keep([(record, item, error)])
        await self.log.append([], cursor=cursor)
        return refused


def _record(label: WaitingLabel) -> SourceRecord:
    return SourceRecord(label.record, label.raw, label.format)

"""The records of a source as they would be learned, and those that could not be taken, sent again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from driftline.errors import DriftlineError, InvalidInput
from driftline.ingest import feedback
from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.records import stream_caller
from driftline.sources.base import Source, SourceRecord
from driftline.sources.items import ItemReader, SourceItem, SourceRowReader
from driftline.store.log import Log
from driftline.store.predictions import PredictionReader
from driftline.store.sources import DeadLetter
from driftline.support import json_text


@dataclass(frozen=True)
class TrialRecord:
    """A record, and the item that it stands for, or why it would be refused."""

    record: SourceRecord
    item: dict[str, Any] | None
    error: str | None


async def try_source(
    source: Source, decoder: FeedbackDecoder, check_row: Callable[[bytes], None], count: int = 10, seconds: float = 5.0
) -> list[TrialRecord]:
    """The first records of a source, as it begins; what has come after ``seconds``. Nothing is taken.

    ``check_row`` refuses the JSON of a row that the model does not answer.
    """
    is_of_rows = source.mode == "infer"
    items_of = (SourceRowReader if is_of_rows else ItemReader)(source, decoder.spec, source.identity)

    def check(item: bytes) -> None:
        if is_of_rows:
            check_row(item)
            return
        sent = decoder.decode(item)
        if decoder.new_classes is not None:
            decoder.new_classes.check(sent.label)
        if sent.inputs is not None:
            decoder.rows.row(sent.inputs)

    found: list[TrialRecord] = []
    reader = await source.open()
    try:
        position, end = "", time.monotonic() + seconds
        while len(found) < count and time.monotonic() < end:
            batch = await reader.read(position, count)
            await items_of.learn(batch.records)
            for record in batch.records:
                found += [_tried(record, item, check) for item in items_of.items(record)]
            position = batch.position
            if batch.is_last or (found and not batch.records):
                break
    finally:
        await reader.close()
    return found[:count]


def _tried(record: SourceRecord, item: SourceItem, check: Callable[[bytes], None]) -> TrialRecord:
    if item.error is not None:
        return TrialRecord(record, None, item.error.message)
    shown = None
    try:
        shown = json_text.values(item.json, "item")
        check(item.json)
    except InvalidInput as error:
        return TrialRecord(record, shown, error.message)
    return TrialRecord(record, shown, None)


async def send_again(
    letter: DeadLetter,
    source: Source,
    key: str,
    log: Log,
    predictions: PredictionReader,
    decoder: FeedbackDecoder,
) -> str | None:
    """Takes a record that could not be taken before, by the source and the model as they are now; why it still cannot be, or
    None. It has the id that it had, so that it is learned once, however often it is sent."""
    if letter.is_cut:
        return "only the beginning of the record is kept"
    record = SourceRecord(letter.place, letter.raw, letter.format)
    items_of = ItemReader(source, decoder.spec, key)
    await items_of.learn([record])
    items = {item.id.removeprefix("s:"): item for item in items_of.items(record)}
    item = items.get(letter.id)
    if item is None:
        return "the record holds fewer items than it did"
    if item.error is not None:
        return item.error.message
    try:
        caller = stream_caller(letter.source)
        (outcome,) = await feedback.append(log, predictions, decoder, [item.json], [item.id], caller=caller)
    except DriftlineError:
        raise
    except Exception as error:  # What no check has met fails here as it did before.
        return f"{type(error).__name__}: {error}"
    return None if outcome.error is None else outcome.error.message

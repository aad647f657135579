"""Labels that come before the predictions that they are about: each joins its own, once, whatever dies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from driftline.records import Item
from driftline.sources.base import Source
from driftline.store.prediction_batches import PredictionBatch
from driftline.store.predictions import PredictionWriter
from driftline.store.sources import SourceBook
from tests.worker.conftest import Bench
from tests.worker.source_reading import alarm_of, labels, made, newest_is, reading, row, told
from worker.model_store import ModelStore
from worker.sources import waiting_labels

pytestmark = pytest.mark.anyio


def stream(bench: Bench) -> str:
    return f"{bench.connection.keys.prefix}labels"


def source(bench: Bench, wait_seconds: float = 3600) -> Source:
    return made(type="redis_stream", url=bench.url, stream=stream(bench), wait_seconds=wait_seconds)


async def label(bench: Bench, *keys: str, label: int = 1, **fields: Any) -> None:
    for key in keys:
        await bench.connection.redis.xadd(stream(bench), {"key": key, "label": label} | fields)


async def answer(store: ModelStore, keys: Sequence[str]) -> None:
    """Records predictions under these keys, as an app does."""
    writer = PredictionWriter(store.connection, horizon=3600, budget=2**20)
    inputs = np.array([row(n) for n in range(len(keys))], np.float32).tobytes()
    outputs = np.full((len(keys), 2), 0.5, np.float32).tobytes()
    batch = PredictionBatch(
        1, "live", len(keys), {"inputs": inputs}, outputs, [0] * len(keys), keys={**dict(enumerate(keys))}
    )
    writer.record(store.uid, writer.next_entry(), batch)
    await writer.flush()


async def facts(store: ModelStore) -> list[str]:
    entries = await store.log.since(1, 1000)
    return [entry.record.fact for entry in entries if isinstance(entry.record, Item)]


async def test_rows_and_labels_join_in_either_order(bench: Bench) -> None:
    store = await bench.model()
    await answer(store, ["a", "b"])
    await label(bench, "a", "c", "b", "d")
    async with reading(store, source(bench)):
        await newest_is(store, 2)
        await told(store, state="running", waiting=2, taken=2)
        await answer(store, ["d", "c"])
        await newest_is(store, 4)
        await told(store, state="running", waiting=0, taken=4)
    assert await facts(store) == ["key:a", "key:b", "key:c", "key:d"]
    assert not await SourceBook(store.connection, store.uid).dead()


async def test_what_waits_survives_whoever_reads(bench: Bench) -> None:
    store = await bench.model()
    await label(bench, *"abc")
    for _ in range(2):
        async with reading(store, source(bench)):
            await told(store, waiting=3)
    # As if a reader had died before the position moved: they are read again, and wait once.
    await store.connection.redis.delete(store.keys.sources)
    async with reading(store, source(bench)):
        await told(store, waiting=3)
        await answer(store, [*"abc"])
        await newest_is(store, 3)
        await told(store, waiting=0)
    # As if one had died when they were in the log, and had still been kept.
    await store.connection.redis.delete(store.keys.sources)
    async with reading(store, source(bench)):
        await told(store, state="running", waiting=0)
    assert await facts(store) == ["key:a", "key:b", "key:c"]


async def test_labels_of_one_key_stay_in_their_order(bench: Bench) -> None:
    store = await bench.model()
    await label(bench, "a", label=0)
    async with reading(store, source(bench)):
        await told(store, waiting=1)
    await answer(store, ["a"])
    await label(bench, "a", label=1, revise="true")
    async with reading(store, source(bench)):
        await newest_is(store, 2)
        await told(store, state="running", waiting=0, refused=0)
    assert await labels(store) == [0, 1]


async def test_a_label_whose_time_is_over_is_kept_with_the_reason(bench: Bench) -> None:
    store = await bench.model()
    await label(bench, "a")
    async with reading(store, source(bench, wait_seconds=0.01)):
        await alarm_of(store, "source_refused")
        await told(store, state="running", waiting=0, refused=1)
    (letter,) = await SourceBook(store.connection, store.uid).dead()
    assert "within 0.01 s" in letter.reason
    assert not await store.connection.redis.hlen(store.keys.waiting)


async def test_a_label_that_does_not_fit_its_row_is_refused_when_that_comes(bench: Bench) -> None:
    store = await bench.model()
    await label(bench, "a", label=0)
    await label(bench, "a", label=1)
    async with reading(store, source(bench)):
        await told(store, waiting=2)
        await answer(store, ["a"])
        await newest_is(store, 1)
        await told(store, waiting=0, taken=1, refused=1)
    (letter,) = await SourceBook(store.connection, store.uid).dead()
    assert "another content" in letter.reason
    assert json.loads(letter.raw) if letter.format == "json" else letter.raw


async def test_where_too_many_wait_reading_waits_and_nothing_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_labels, "MAX_WAITING", 3)
    store = await bench.model()
    keys = [f"k{n}" for n in range(9)]
    await label(bench, *keys[:3])
    async with reading(store, source(bench)):
        await told(store, waiting=3)
        await label(bench, *keys[3:])
        await told(store, reason="reading waits: 3 labels wait for their predictions")
        await answer(store, keys)
        await newest_is(store, 9)
    assert await facts(store) == [f"key:{key}" for key in keys]

"""Reads sources for a test, as the worker that owns the model does, and waits for what comes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from driftline.records import Item
from driftline.sources.base import Source
from driftline.sources.model_sources import ModelSources
from driftline.sources.registry import parse_source
from driftline.store.sources import SourceBook, SourceState
from driftline.support.tasks import Troubles
from tests.waiting import until_async
from worker.model_store import ModelStore
from worker.sources.keeper import label_sources

NAME = "environment-1"


def made(**described: Any) -> Source:
    """A source as the setting has it."""
    return parse_source({"model": "weather", "name": NAME} | described)


def row(n: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(n).normal(size=8)]


@asynccontextmanager
async def reading(store: ModelStore, *found: Source) -> AsyncIterator[ModelSources]:
    sources = label_sources(store, {each.name: each for each in found}, Troubles(), retry_seconds=0.05)
    await sources.apply({})
    try:
        yield sources
    finally:
        await sources.close()


async def newest_is(store: ModelStore, count: int) -> None:
    async def has_come() -> bool:
        return await store.log.newest() >= count

    await until_async(has_come)


async def told(store: ModelStore, name: str = NAME, **wanted: Any) -> SourceState:
    """How the source does, once it is told to be as ``wanted``."""

    async def state() -> SourceState | None:
        found = (await SourceBook(store.connection, store.uid).states()).get(name)
        is_it = found is not None and all(getattr(found, field) == value for field, value in wanted.items())
        return found if is_it else None

    return await until_async(state)


async def alarm_of(store: ModelStore, kind: str) -> str:
    found = await until_async(lambda: store.connection.redis.hget(store.keys.alarms, kind))
    return str(json.loads(found)["message"])


async def labels(store: ModelStore) -> list[Any]:
    return [entry.record.label for entry in await store.log.since(1, 1000) if isinstance(entry.record, Item)]

"""A model that has really learned, and the doctor that looks it over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from driftline.doctor import Finding, examine
from driftline.settings import Settings
from driftline.store.connection import RedisConnection
from tests.heartbeats import alive
from tests.worker.conftest import Bench, labelled
from worker.model_store import ModelStore

Look = Callable[[], Awaitable[list[Finding]]]


@pytest.fixture
def settings(embedded: str, prefix: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=embedded, prefix=prefix, data_dir=tmp_path)


@pytest.fixture
async def model(connection: RedisConnection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path) -> ModelStore:
    """A model with two checkpoints, several versions, and an owner."""
    bench = Bench(connection, embedded, thread, tmp_path)
    store = await bench.model()
    for first in (0, 64):
        await store.log.append(labelled(64, first))
        await bench.train(store)
    await alive(connection, f"owner{bench.owners}")
    return store


@pytest.fixture
def look(settings: Settings) -> Look:
    """Everything that the doctor finds."""
    return lambda: asyncio.to_thread(examine, settings)


def worse(findings: list[Finding]) -> list[Finding]:
    """What is not well."""
    return [finding for finding in findings if finding.level != "ok"]


def only(findings: list[Finding], check: str, level: str) -> Finding:
    """The one finding that is not well, which is of this check and level, and brings its advice."""
    (found,) = worse(findings)
    assert (found.check, found.level) == (check, level)
    assert found.advice
    return found

"""Trainers and workers that run in this process, and what a test waits for while they do."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from driftline.records import Command, Item
from driftline.settings import Settings
from tests.waiting import until_async
from tests.worker.conftest import Bench
from worker.main import Worker
from worker.model_store import ModelStore
from worker.trainer import Trainer


@contextlib.asynccontextmanager
async def training(bench: Bench, store: ModelStore, **settings: Any) -> AsyncIterator[Trainer]:
    """A trainer at work; it looks often whether what has halted it is over."""
    trainer = await bench.trainer(store, **{"halted_seconds": 0.02} | settings)
    task = asyncio.create_task(trainer.run())
    try:
        yield trainer
    finally:
        trainer.stop()
        await task


async def alarms(store: ModelStore) -> dict[str, str]:
    found = await store.connection.redis.hgetall(store.keys.alarms)
    return {kind.decode(): json.loads(alarm)["message"] for kind, alarm in found.items()}


async def until_learned(store: ModelStore, trainer: Trainer, count: int) -> None:
    async def is_learned() -> bool:
        trainer.wake.set()
        return (await store.commit_log.head()).learned >= count

    await until_async(is_learned)


async def until_alarm(store: ModelStore, trainer: Trainer, kind: str) -> str:
    async def message() -> str:
        trainer.wake.set()
        return (await alarms(store)).get(kind, "")

    return await until_async(message)


async def until_withdrawn(store: ModelStore, kind: str) -> None:
    async def is_withdrawn() -> bool:
        return kind not in await alarms(store)

    await until_async(is_withdrawn)


async def offset_is(store: ModelStore, offset: int) -> None:
    async def has_reached() -> bool:
        return (await store.commit_log.head()).offset >= offset

    await until_async(has_reached)


async def add(store: ModelStore, trainer: Trainer, items: Sequence[Item | Command]) -> None:
    await store.log.append(items)
    trainer.wake.set()


async def state_is(store: ModelStore, job: str, state: str) -> None:
    async def is_there() -> bool:
        found = await store.commit_log.job(job)
        return found is not None and found.state == state

    await until_async(is_there)


@contextlib.asynccontextmanager
async def working(bench: Bench, retry_seconds: float = 10.0, **settings: Any) -> AsyncIterator[Worker]:
    worker = Worker(
        Settings(
            redis_url=bench.url,
            prefix=bench.connection.keys.prefix,
            data_dir=bench.folder,
            poll_seconds=0.05,
            sweep_seconds=0.1,
            orphan_seconds=0.5,
            **settings,
        ),
        retry_seconds=retry_seconds,
    )
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await running


async def is_learned(store: ModelStore) -> bool:
    return (await store.commit_log.head()).learned == 64

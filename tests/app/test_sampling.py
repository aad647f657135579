"""Measurements in the background: new ones for who has the time, the last one for who has not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from app.sampling import Sampler
from driftline.errors import Unavailable
from tests.waiting import SECONDS, until_async

pytestmark = pytest.mark.anyio


class Counting:
    """Measures 1, 2, 3, …; while it is closed, it hangs."""

    def __init__(self) -> None:
        self.count = 0
        self.begun = 0
        self.open = asyncio.Event()
        self.open.set()
        self.fails = False

    async def __call__(self) -> int:
        self.begun += 1
        await self.open.wait()
        if self.fails:
            raise Unavailable("gone")
        self.count += 1
        return self.count


@contextlib.asynccontextmanager
async def running(sampler: Sampler[int]) -> AsyncIterator[None]:
    task = asyncio.create_task(sampler.run())
    try:
        yield
    finally:
        task.cancel()


async def test_who_asks_gets_a_measurement_that_was_begun_after_the_question() -> None:
    counting = Counting()
    sampler = Sampler(counting, every=SECONDS, patience=SECONDS)
    async with running(sampler):
        await until_async(lambda: sampler.last)
        for expected in (2, 3):
            sample = await sampler.newest()
            assert sample is not None and sample.value == expected and 0 <= sample.age < SECONDS
        counting.open.clear()
        asking = asyncio.create_task(sampler.newest())
        await until_async(lambda: counting.begun == 4)
        late = asyncio.create_task(sampler.newest())
        await asyncio.sleep(0)
        counting.open.set()
        first, second = await asyncio.gather(asking, late)
        assert first is not None and second is not None
        assert (first.value, second.value) == (4, 5), "the one that was under way is too old for the later question"


async def test_while_it_hangs_the_last_one_is_given_with_its_age() -> None:
    counting = Counting()
    sampler = Sampler(counting, every=SECONDS, patience=0.01)
    async with running(sampler):
        before = await until_async(lambda: sampler.last)
        counting.open.clear()
        first, second = await sampler.newest(), await sampler.newest()
        assert first is second is before
        counting.open.set()

        async def is_new() -> bool:
            sample = await sampler.newest()
            return sample is not None and sample.value > 1

        await until_async(is_new)


async def test_what_cannot_be_measured_leaves_the_last_one_and_the_task_goes_on() -> None:
    counting = Counting()
    sampler = Sampler(counting, every=SECONDS, patience=SECONDS)
    async with running(sampler):
        before = await until_async(lambda: sampler.last)
        counting.fails = True
        assert await sampler.newest() is before
        counting.fails = False
        sample = await sampler.newest()
        assert sample is not None and sample.value == 2


async def test_before_the_first_one_there_is_none() -> None:
    counting = Counting()
    counting.fails = True
    sampler = Sampler(counting, every=SECONDS, patience=SECONDS)
    async with running(sampler):
        assert await sampler.newest() is None


async def test_it_measures_by_itself_and_rests_when_nobody_asks() -> None:
    counting = Counting()
    busy = Sampler(counting, every=0.001, patience=SECONDS, max_share=1.0)
    async with running(busy):
        await until_async(lambda: counting.count >= 3)
    resting_count = Counting()
    resting = Sampler(resting_count, every=0.001, patience=SECONDS, idle_seconds=0.0, max_share=1.0)
    async with running(resting):
        await until_async(lambda: resting.last)
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert resting_count.count == 1
        assert await resting.newest() is not None

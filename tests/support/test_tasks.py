"""A task that is ended has ended."""

from __future__ import annotations

import asyncio

import pytest

from driftline.support.tasks import end
from tests.waiting import SECONDS

pytestmark = pytest.mark.anyio


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    lost = 0

    async def lose_two() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost > 2:
                    raise

    task = asyncio.create_task(lose_two())
    await asyncio.sleep(0)
    async with asyncio.timeout(SECONDS):
        await end(task)
    assert task.done() and lost == 3


async def test_what_a_task_raises_is_its_own() -> None:
    async def fail() -> None:
        raise ValueError

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end(task)
    assert isinstance(task.exception(), ValueError)

"""Long work is done beside the event loop, by turns of those who bring it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from operator import floordiv

import pytest

from app.fair_thread import FairThread

pytestmark = pytest.mark.anyio


@pytest.fixture
async def thread() -> AsyncIterator[FairThread]:
    found = FairThread("test")
    yield found
    found.close()


async def test_one_has_its_turn_before_the_flood_of_another(thread: FairThread) -> None:
    may_begin, order = threading.Event(), list[str]()
    first = thread.begin("flood", 1, may_begin.wait)
    waiting = [thread.begin("flood", 10, lambda: order.append("flood")) for _ in range(50)]
    waiting.append(thread.begin("one", 10, lambda: order.append("one")))
    await asyncio.sleep(0)
    may_begin.set()
    await asyncio.gather(first, *waiting)
    assert order.index("one") <= 1 and len(order) == 51


async def test_each_gets_what_its_own_work_gives_or_raises(thread: FairThread) -> None:
    found = await asyncio.gather(
        *(thread.begin("a", 1, partial(floordiv, 12, number)) for number in (3, 0, 4)), return_exceptions=True
    )
    assert found[::2] == [4, 3] and isinstance(found[1], ZeroDivisionError)
    assert await thread.begin("a", 1, threading.get_ident) != threading.get_ident()


async def test_what_nobody_waits_for_any_more_is_not_done(thread: FairThread) -> None:
    may_begin, done = threading.Event(), list[int]()
    first = thread.begin("a", 1, may_begin.wait)
    gone, last = (thread.begin("a", 1, partial(done.append, number)) for number in (1, 2))
    gone.cancel()
    may_begin.set()
    await asyncio.gather(first, last)
    assert done == [2]

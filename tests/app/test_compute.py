"""Results of the compute thread: each to whom it belongs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.compute import ComputeThread
from tests.waiting import until_async

pytestmark = pytest.mark.anyio


async def test_each_call_gets_its_own_result_in_order() -> None:
    thread = ComputeThread("test")
    order: list[int] = []

    def square(number: int) -> int:
        order.append(number)
        return number**2

    found = await asyncio.gather(*(thread.run(square, number) for number in range(500)))
    assert found == [number**2 for number in range(500)]
    assert order == list(range(500))
    thread.close()


async def test_an_error_is_the_caller_s_and_the_thread_goes_on() -> None:
    thread = ComputeThread("test")
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 / 0)
    assert await thread.run(threading.get_ident) != threading.get_ident()
    thread.close()


async def test_the_loop_is_free_while_it_computes_and_one_that_gave_up_harms_nobody() -> None:
    thread = ComputeThread("test")
    has_begun, may_end = threading.Event(), threading.Event()

    def compute() -> None:
        has_begun.set()
        may_end.wait()

    slow = asyncio.create_task(thread.run(compute))
    await until_async(has_begun.is_set)
    slow.cancel()
    waiting = asyncio.create_task(thread.run(lambda: 7))
    await asyncio.wait([slow])
    assert not waiting.done(), "the loop runs meanwhile"
    may_end.set()
    assert await waiting == 7
    thread.close()


async def test_a_closed_thread_has_ended() -> None:
    thread = ComputeThread("test")
    await thread.run(int)
    thread.close()
    assert "test" not in {alive.name for alive in threading.enumerate()}

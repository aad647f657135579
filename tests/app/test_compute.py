"""Results of the compute thread: each to whom it belongs."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from app.compute import ComputeThread

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
    slow = asyncio.create_task(thread.run(time.sleep, 0.2))
    await asyncio.sleep(0.01)
    begin = time.monotonic()
    slow.cancel()
    waiting = asyncio.create_task(thread.run(lambda: 7))
    await asyncio.sleep(0.01)
    assert time.monotonic() - begin < 0.15
    assert await waiting == 7
    thread.close()


async def test_a_closed_thread_has_ended() -> None:
    thread = ComputeThread("test")
    await thread.run(int)
    thread.close()
    assert "test" not in {alive.name for alive in threading.enumerate()}

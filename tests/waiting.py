"""Waiting for what a test needs, however busy the machine is: it goes on as soon as that is there."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

SECONDS = 240.0
"""Far more than anything takes that happens at all, also where many share the machine."""
PAUSE = 0.02

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = SECONDS) -> T:
    """What ``condition`` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        _check(deadline, seconds)
        time.sleep(PAUSE)
    return found


@overload
async def until_async(condition: Callable[[], Awaitable[T | None]], seconds: float = SECONDS) -> T: ...
@overload
async def until_async(condition: Callable[[], T | None], seconds: float = SECONDS) -> T: ...
async def until_async(condition: Callable[[], object], seconds: float = SECONDS) -> object:
    """The same in an event loop, of a condition that may be awaited."""
    deadline = time.monotonic() + seconds
    while not (found := await _outcome(condition)):
        _check(deadline, seconds)
        await asyncio.sleep(PAUSE)
    return found


async def _outcome(condition: Callable[[], object]) -> object:
    found = condition()
    return await found if inspect.isawaitable(found) else found


def _check(deadline: float, seconds: float) -> None:
    assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s"

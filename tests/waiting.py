"""Waiting for what a test needs, however busy the machine is: it goes on as soon as that is there."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

SECONDS = 480.0
"""Far more than anything takes that happens at all, also where many share the machine."""
PAUSES = (0.02, 0.1)
"""Between two looks: a tenth of what was waited so far, within these bounds. Looking takes time from what is looked for."""

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = SECONDS) -> T:
    """What ``condition`` gives once it is true."""
    begin = time.monotonic()
    while not (found := condition()):
        time.sleep(_pause(begin, seconds))
    return found


@overload
async def until_async(condition: Callable[[], Awaitable[T | None]], seconds: float = SECONDS) -> T: ...
@overload
async def until_async(condition: Callable[[], T | None], seconds: float = SECONDS) -> T: ...
async def until_async(condition: Callable[[], object], seconds: float = SECONDS) -> object:
    """The same in an event loop, of a condition that may be awaited."""
    begin = time.monotonic()
    while not (found := await _outcome(condition)):
        await asyncio.sleep(_pause(begin, seconds))
    return found


async def _outcome(condition: Callable[[], object]) -> object:
    found = condition()
    return await found if inspect.isawaitable(found) else found


def _pause(begin: float, seconds: float) -> float:
    waited = time.monotonic() - begin
    assert waited < seconds, f"it did not happen within {seconds:g} s"
    return min(PAUSES[1], max(PAUSES[0], waited / 10))

"""Ends asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks and waits until they have ended; what they raise is theirs.

    A task is cancelled again until it ends: before Python 3.12 ``asyncio.wait_for`` loses a cancellation that meets its
    result (python/cpython#86296), and the Redis client sends through it.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.05)
    await asyncio.gather(*tasks, return_exceptions=True)

"""Where torch runs: never on the IO loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Compute(Protocol):
    """Runs a function on the compute thread."""

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T: ...


class ComputeThread:
    """A :class:`Compute` on the one thread that all models of a worker use in turn."""

    def __init__(self, thread: Executor) -> None:
        self.thread = thread

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """A :class:`Compute` for those who have no thread of their own."""
    return await asyncio.to_thread(function, *arguments)

"""Where torch runs: never on the IO loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Compute(Protocol):
    """Runs a function on the compute thread."""

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T: ...


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """A :class:`Compute` for those who have no thread of their own."""
    return await asyncio.to_thread(function, *arguments)

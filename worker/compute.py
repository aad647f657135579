"""Where torch runs: never on the IO loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Compute(Protocol):
    """Runs a function on the compute thread."""

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T: ...

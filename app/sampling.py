"""What is measured in the background, so that who asks for it never waits for the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from driftline.errors import Unavailable

logger = logging.getLogger("driftline.sampling")

T = TypeVar("T")


@dataclass(frozen=True)
class Measurement(Generic[T]):
    """A measurement, and when it was begun, by the monotonic clock."""

    value: T
    begun: float

    @property
    def age(self) -> float:
        """How old it is, in seconds."""
        return time.monotonic() - self.begun


class Sampler(Generic[T]):
    """Measures whenever somebody asks, and at the latest after ``every`` seconds.

    Args:
        take: measures once. It may take any time.
        every: the longest time between two measurements; what is measured slowly is measured less often.
        patience: how long who asks waits for a new measurement before the last one has to do.
        idle_seconds: after so long without a question it measures only when it is asked; None: it never rests.
        max_share: the most of the time that it may spend on measurements that nobody has asked for.
    """

    def __init__(
        self,
        take: Callable[[], Awaitable[T]],
        *,
        every: float,
        patience: float,
        idle_seconds: float | None = None,
        max_share: float = 0.05,
    ) -> None:
        self.take = take
        self.every = every
        self.patience = patience
        self.idle_seconds = idle_seconds
        self.max_share = max_share
        self.last: Measurement[T] | None = None
        self._asked = asyncio.Event()
        self._asked_at = time.monotonic()
        self._waiting: list[asyncio.Future[Measurement[T] | None]] = []

    async def run(self) -> None:
        """Measures until cancelled. What is :class:`Unavailable` leaves the last measurement."""
        while True:
            self._asked.clear()
            waiting, self._waiting = self._waiting, []
            begun = time.monotonic()
            try:
                self.last = Measurement(await self.take(), begun)
            except Unavailable as error:
                logger.debug("nothing new is known: %s", error)
            except BaseException:
                self._waiting += waiting
                raise
            for future in waiting:
                if not future.done():
                    future.set_result(self.last)
            await self._rest(time.monotonic() - begun)

    async def _rest(self, took: float) -> None:
        is_idle = self.idle_seconds is not None and time.monotonic() - self._asked_at > self.idle_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if is_idle else max(self.every, took / self.max_share)):
                await self._asked.wait()

    async def newest(self) -> Measurement[T] | None:
        """A measurement that was begun now, or the last one where that takes too long; None where there is none yet."""
        self._asked_at = time.monotonic()
        future: asyncio.Future[Measurement[T] | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._asked.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.patience):
                return await future
        return self.last

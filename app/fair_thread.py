"""Long work on what a call has sent or is answered: in one thread beside the event loop, in turns by key.

However much of it one caller brings, the loop serves the others meanwhile, and what they bring themselves has its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .compute import ComputeThread
from .fair_queue import FairQueue

R = TypeVar("R")


@dataclass(eq=False)
class _Turn:
    asker: str
    count: int
    work: Callable[[], Any]
    done: asyncio.Future[Any]


class FairThread:
    """Does one piece of work after the other; the next is of whoever has had least of it."""

    def __init__(self, name: str) -> None:
        self._thread = ComputeThread(name)
        self._queue = FairQueue[_Turn]()
        self._task: asyncio.Task[None] | None = None

    def begin(self, asker: str, size: int, work: Callable[[], R]) -> asyncio.Future[R]:
        """Lets work wait for its turn, and gives the future of what it gives or raises; one that is cancelled loses its turn.

        Args:
            asker: whose work it is.
            size: about how much of it there is, in any unit that is the same for all.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()
        self._queue.append(_Turn(asker, size, work, done))
        if self._task is None:
            self._task = loop.create_task(self._work())
        return done

    async def _work(self) -> None:
        try:
            while self._queue:
                turn = self._queue.take()
                if turn.done.done():
                    continue
                found = await self._thread.run(_tried, turn.work)
                if turn.done.done():
                    continue
                if isinstance(found, Exception):
                    turn.done.set_exception(found)
                else:
                    turn.done.set_result(found)
        finally:
            self._task = None

    def close(self) -> None:
        """Ends the thread after what it is at."""
        self._thread.close()


def _tried(work: Callable[[], Any]) -> Any:
    """What work gives, or the error that it raises."""
    try:
        return work()
    except Exception as error:
        return error

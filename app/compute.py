"""The compute thread: runs functions in order, and wakes the event loop as rarely as possible to deliver their results."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class ComputeThread:
    """Runs functions beside the event loop that uses it.

    An executor wakes the loop for each result; under load several results are ready by the time that it looks.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, Exception | None]] = deque()
        self._is_waking = False
        self._thread: threading.Thread | None = None

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What ``function`` gives or raises."""
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, args=(loop,), name=self._name, daemon=True)
            self._thread.start()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((future, function, arguments))
        return await future

    def close(self) -> None:
        """Ends the thread after the functions that are queued."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, arguments = job
            try:
                self._done.append((future, function(*arguments), None))
            except Exception as error:  # It is raised in the caller.
                self._done.append((future, None, error))
            except BaseException as error:  # A network that calls sys.exit() ends neither this thread nor the process.
                self._done.append((future, None, RuntimeError(f"raised {error!r}")))
            if not self._is_waking:
                self._is_waking = True
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # The flag goes first: a result that is ready from now on wakes the loop again.
        self._is_waking = False
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

"""Background tasks: cancelled reliably, and restarted when they fail."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from driftline.support.formatting import count_text, moment_text

logger = logging.getLogger("driftline.tasks")

MAX_LOGGED = 100
"""How many distinct errors of one task are remembered; beyond that they are logged again."""


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks and waits until they have ended; their errors are ignored.

    A task is cancelled again until it ends: before Python 3.12 ``asyncio.wait_for`` loses a cancellation that meets its
    result (python/cpython#86296), and the Redis client sends through it.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.05)
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Trouble:
    """The last error of a background task. ``since`` is in seconds since 1970; ``failures`` counts from then."""

    message: str
    since: float
    failures: int = 1

    def __str__(self) -> str:
        failed = f"failed {count_text(self.failures, 'time')} since {moment_text(self.since)}"
        return f"{self.message} ({failed}; it is restarted)"


class Troubles:
    """The currently failing background tasks of a process, by name."""

    def __init__(self) -> None:
        self._found: dict[str, Trouble] = {}

    def failed(self, name: str, message: str) -> None:
        """Notes that task ``name`` has failed; its trouble keeps its begin."""
        before = self._found.get(name)
        since, failures = (time.time(), 0) if before is None else (before.since, before.failures)
        self._found[name] = Trouble(message, since, failures + 1)

    def over(self, name: str) -> None:
        """Notes that task ``name`` works: :func:`supervised` calls it after a time without a failure, or the task itself."""
        self._found.pop(name, None)

    def current(self) -> dict[str, str]:
        """Current trouble: task name → message, since when, and how often."""
        return {name: str(trouble) for name, trouble in self._found.items()}


async def supervised(
    name: str,
    function: Callable[[], Awaitable[None]],
    troubles: Troubles,
    *,
    fatal: tuple[type[Exception], ...] = (),
    on_failure: Callable[[Exception], Awaitable[None]] | None = None,
    first_delay: float = 0.2,
    last_delay: float = 30.0,
    healthy_seconds: float = 60.0,
    jitter: float = 0.0,
) -> None:
    """Runs a background task until it returns or is cancelled; one that raises is restarted.

    Each distinct error is logged once with its traceback. The task is listed in ``troubles`` from its first failure until it
    has run for ``healthy_seconds`` without another, or has called :meth:`Troubles.over` itself.

    Args:
        name: its name in logs and ``troubles``.
        function: called without arguments at each start.
        fatal: errors that a restart cannot fix: they are raised.
        on_failure: awaited after each failure; its own errors are logged.
        first_delay: seconds until the first restart; each further one waits twice as long, up to ``last_delay``.
        last_delay: the longest time between a failure and the restart.
        healthy_seconds: after so long without a failure, delays and logging start again.
        jitter: the share of a delay that chance may take off, so that what has failed together does not all come back at once.
    """
    delay, logged = first_delay, set[str]()
    while True:
        begin = time.monotonic()
        healthy = asyncio.get_running_loop().call_later(healthy_seconds, troubles.over, name)
        try:
            await function()
            troubles.over(name)
            return
        except fatal:
            raise
        except Exception as error:
            failure = error
        finally:
            healthy.cancel()
        if time.monotonic() - begin >= healthy_seconds:
            delay, logged = first_delay, set()
        message = f"{type(failure).__name__}: {failure}"
        troubles.failed(name, message)
        if message not in logged:
            logged = {message} if len(logged) >= MAX_LOGGED else {*logged, message}
            logger.error("%s failed, and is restarted: %s", name, message, exc_info=failure)
        if on_failure is not None:
            await _told(name, on_failure, failure)
        await asyncio.sleep(delay * random.uniform(1.0 - jitter, 1.0))
        delay = min(last_delay, 2 * delay)


async def _told(name: str, on_failure: Callable[[Exception], Awaitable[None]], failure: Exception) -> None:
    """Calls ``on_failure``. If that fails too, as while the store is down, the supervision goes on."""
    try:
        await on_failure(failure)
    except Exception as error:
        logger.warning("%s: its failure could not be reported: %s", name, error)

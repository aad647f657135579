"""What a worker tells of itself, every few seconds, for as long as its IO loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from driftline.errors import Unavailable
from driftline.store.connection import RedisConnection
from driftline.store.workers import Heartbeat, SourceLag, Workers
from driftline.version import __version__

from .compute import ComputeMeter
from .durations import Durations

MAX_BEAT_SECONDS = 2.0
"""The longest time between two heartbeats."""


class Heart:
    """Writes the heartbeats of the worker ``owner``.

    Args:
        meter: of its compute thread.
        durations: of its work.
        lags: of the sources that it reads.
        beat_seconds: how often it beats.
    """

    def __init__(
        self,
        connection: RedisConnection,
        owner: str,
        meter: ComputeMeter,
        durations: Durations | None = None,
        lags: Callable[[], Iterable[SourceLag]] = tuple,
        beat_seconds: float = MAX_BEAT_SECONDS,
    ) -> None:
        self.connection = connection
        self.workers = Workers(connection)
        self.owner = owner
        self.meter = meter
        self.durations = durations or Durations()
        self.lags = lags
        self.beat_seconds = beat_seconds
        self._begun: tuple[float, int] | None = None

    async def run(self) -> None:
        """Beats until cancelled; while the store does not answer, it tries again."""
        while True:
            with contextlib.suppress(Unavailable):
                await self.beat()
            await asyncio.sleep(self.beat_seconds)

    async def beat(self) -> None:
        """Tells of the worker as it is now."""
        started, restarts = self._begun = self._begun or await self._begin()
        uid, seconds = self.meter.current() or (None, 0.0)
        await self.workers.beat(
            Heartbeat(
                id=self.owner,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=__version__,
                started=started,
                time=self.connection.now(),
                load=round(self.meter.load(), 4),
                restarts=restarts,
                computes_for=uid,
                computing_seconds=round(seconds, 3),
                cpu_seconds=round(time.process_time(), 3),
                resident_bytes=resident_bytes(),
                durations=self.durations.counted(),
                sources=list(self.lags()),
            )
        )

    async def _begin(self) -> tuple[float, int]:
        """When the worker started, and how often it did so before under its name without having ended in order."""
        former = await self.workers.former(self.owner)
        return await self.connection.time(), 0 if former is None else former.restarts + 1

    async def leave(self) -> None:
        """Takes the worker off the list: it ends in order."""
        with contextlib.suppress(Unavailable):
            await self.workers.leave(self.owner)


def resident_bytes() -> int:
    """The memory that this process takes; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")

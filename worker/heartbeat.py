"""What a worker tells of itself, every few seconds, for as long as its IO loop runs; it is what renews its leases."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path

from driftline.errors import Unavailable
from driftline.store.connection import RedisConnection
from driftline.store.source_lags import SourceLag
from driftline.store.workers import Heartbeat, Workers
from driftline.version import __version__

from .compute import ComputeMeter
from .durations import Durations
from .placement import Costs

logger = logging.getLogger("driftline.worker")

MAX_BEAT_SECONDS = 2.0
"""The longest time between two heartbeats."""


class Heart:
    """Writes the heartbeats of the worker ``owner``.

    Args:
        meter: of its compute thread.
        durations: of its work.
        lags: of the sources that it reads.
        costs: of its models.
        refused: the models that it cannot learn at the moment.
        lease_seconds: how long its leases last after a heartbeat.
        on_late: called after a heartbeat that came so late that others may have taken models over.
        beat_seconds: how often it beats.
    """

    def __init__(
        self,
        connection: RedisConnection,
        owner: str,
        meter: ComputeMeter,
        durations: Durations | None = None,
        lags: Callable[[], Iterable[SourceLag]] = tuple,
        *,
        costs: Costs | None = None,
        refused: Callable[[], Collection[str]] = tuple,
        lease_seconds: float = 10.0,
        on_late: Callable[[], Awaitable[None]] | None = None,
        beat_seconds: float = MAX_BEAT_SECONDS,
    ) -> None:
        self.connection = connection
        self.workers = Workers(connection)
        self.owner = owner
        self.meter = meter
        self.durations = durations or Durations()
        self.lags = lags
        self.costs = costs or Costs()
        self.refused = refused
        self.lease_seconds = lease_seconds
        self.on_late = on_late
        self.beat_seconds = beat_seconds
        self.is_leaving = False
        self.note = self.artifacts_failure = ""
        self.encryption_keys: list[str] = []
        self._last: float | None = None
        self._trouble = self._silence = ""
        self._begun: tuple[float, int] | None = None

    async def run(self) -> None:
        """Beats until cancelled; while the store does not answer, it tries again."""
        while True:
            try:
                await self.beat()
            except Unavailable as error:
                if not self._trouble:
                    logger.error("the leases of this worker cannot be renewed: %s", error)
                self._trouble = error.message
            await asyncio.sleep(self.beat_seconds)

    async def beat(self) -> None:
        """Tells of the worker as it is now."""
        told_at = time.monotonic()
        await self._tell()
        self._silence, self._trouble = self.silence(), ""
        last, self._last = self._last, told_at
        # Half a lease is early enough that nobody can have taken a model over before.
        if last is not None and told_at - last > self.lease_seconds / 2 and self.on_late is not None:
            await self.on_late()

    @property
    def has_begun(self) -> bool:
        """Whether it has told of the worker."""
        return self._last is not None

    def silence(self) -> str:
        """What has kept it from renewing its leases, now or the last time, and for how long."""
        seconds = time.monotonic() - self._last if self._last is not None else 0.0
        if seconds <= self.lease_seconds / 2:
            return self._silence or "was silent"
        why = self._trouble or "its process was held up"
        return f"could not renew its leases for {seconds:.1f} s ({why})"

    async def _tell(self) -> None:
        started, restarts = self._begun = self._begun or await self._begin()
        uid, seconds = self.meter.current() or (None, 0.0)
        self.costs.measure(self.meter.seconds)
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
                lease_seconds=self.lease_seconds,
                is_leaving=self.is_leaving,
                costs=self.costs.current,
                refused=list(self.refused()),
                note=self.note,
                encryption_keys=self.encryption_keys,
                artifacts_failure=self.artifacts_failure,
            )
        )

    async def _begin(self) -> tuple[float, int]:
        """When the worker started, and how often it did so before under its name without having ended in order."""
        former = await self.workers.former(self.owner)
        return await self.connection.time(), 0 if former is None else former.restarts + 1

    async def announce_leaving(self) -> None:
        """Tells that the worker ends, so that others take its models as they are released."""
        self.is_leaving = True
        await self._tell()

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

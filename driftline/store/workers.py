"""The heartbeats of the workers: which run, on what machine, how busy they are, and since when one has been silent."""

from __future__ import annotations

import msgspec

from driftline.store.connection import RedisConnection, store_errors
from driftline.store.source_lags import SourceLag

STEP, VERSION, CHECKPOINT = "step", "version", "checkpoint"
Counted = tuple[list[int], float]
"""How many durations lay in each bucket (:data:`driftline.support.tally.QUICK`), and their sum in seconds."""


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker tells of itself every few seconds.

    ``time`` and ``started`` are in seconds since 1970, by the clock of Redis. ``load`` is the share of the last half minute in
    which it computed. ``restarts`` counts its starts under this name since it last ended in order. ``computes_for`` is the uid
    of the model that its compute thread works for, for ``computing_seconds`` so far in one call. ``durations`` are of its
    steps, versions and checkpoints since its start.

    A heartbeat is what renews the leases of all its models, for ``lease_seconds``. What the placement of models needs:
    ``is_leaving`` says that it ends, ``costs`` what its busy models take of its thread, and ``refused`` which it cannot learn.

    ``note`` is what it has written among its artifacts under its name: who does not find it there keeps them elsewhere.
    ``artifacts_failure`` is why it could not write it. ``encryption_keys`` are the ids and fingerprints of its keys; the first
    one encrypts.
    """

    id: str
    host: str
    pid: int
    version: str
    started: float
    time: float
    load: float = 0.0
    restarts: int = 0
    computes_for: str | None = None
    computing_seconds: float = 0.0
    cpu_seconds: float = 0.0
    resident_bytes: int = 0
    durations: dict[str, Counted] = {}
    sources: list[SourceLag] = []
    lease_seconds: float = 10.0
    is_leaving: bool = False
    costs: dict[str, float] = {}
    refused: list[str] = []
    note: str = ""
    artifacts_failure: str = ""
    encryption_keys: list[str] = []

    def is_alive(self, now: float) -> bool:
        """Whether its leases hold at a time by the clock of Redis."""
        return now - self.time <= self.lease_seconds


class Workers:
    """The heartbeats in the store.

    Args:
        keep_seconds: how long one that is silent is still told of.
    """

    def __init__(self, connection: RedisConnection, keep_seconds: float = 600.0) -> None:
        self.connection = connection
        self.keep_seconds = keep_seconds

    async def beat(self, heartbeat: Heartbeat) -> None:
        """Stores the newest heartbeat of a worker."""
        with store_errors():
            value = msgspec.json.encode(heartbeat)
            await self.connection.redis.hset(self.connection.keys.workers, heartbeat.id, value)

    async def former(self, identifier: str) -> Heartbeat | None:
        """The last heartbeat under a name; None where it was never used, or its worker has ended in order."""
        with store_errors():
            found = await self.connection.redis.hget(self.connection.keys.workers, identifier)
        return None if found is None else msgspec.json.decode(found, type=Heartbeat)

    async def leave(self, identifier: str) -> None:
        """Removes a worker that ends in order."""
        with store_errors():
            await self.connection.redis.hdel(self.connection.keys.workers, identifier)

    async def read(self) -> list[Heartbeat]:
        """The newest heartbeat of each worker, by its name, but for those that have been silent for too long."""
        oldest = self.connection.now() - self.keep_seconds
        return [heartbeat for heartbeat in await self._all() if heartbeat.time >= oldest]

    async def alive(self) -> dict[str, Heartbeat]:
        """The heartbeats of the workers whose leases hold, by worker."""
        now = await self.connection.time()
        return {heartbeat.id: heartbeat for heartbeat in await self._all() if heartbeat.is_alive(now)}

    async def remove_lost(self) -> None:
        """Removes the heartbeats of workers that have been silent for too long."""
        oldest = self.connection.now() - self.keep_seconds
        for heartbeat in await self._all():
            if heartbeat.time < oldest:
                await self.leave(heartbeat.id)

    async def _all(self) -> list[Heartbeat]:
        with store_errors():
            found = await self.connection.redis.hvals(self.connection.keys.workers)
        heartbeats = (msgspec.json.decode(value, type=Heartbeat) for value in found)
        return sorted(heartbeats, key=lambda heartbeat: heartbeat.id)

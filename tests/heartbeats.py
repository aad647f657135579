"""Workers that are there without their process."""

from __future__ import annotations

from driftline.store.connection import RedisConnection
from driftline.store.workers import Heartbeat, Workers


async def alive(connection: RedisConnection, owner: str, seconds: float = 3600.0) -> None:
    """A heartbeat by which the leases of a worker hold for so long."""
    now = await connection.time()
    await Workers(connection).beat(Heartbeat(owner, "host", 1, "1.0", now, now, lease_seconds=seconds))

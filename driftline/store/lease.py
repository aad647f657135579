"""The ownership of a model: a lease for a time, and an epoch that fences every former owner."""

from __future__ import annotations

import secrets

from driftline.store.connection import RedisConnection
from driftline.store.events import EventRecord

MAX_CRASHES = 3
"""After so many worker processes in a row that died while they computed for a model, nobody takes it any more."""


class Lease:
    """One worker's claim on the model ``uid``.

    ``epoch`` is 0 while it is not held. ``former`` is the owner before, if it did not release its lease; ``crashes``
    counts the processes in a row that the model's turns have ended, as it was known when the lease was taken.

    Args:
        owner: the unique name of this worker.
        seconds: how long the lease lasts without being renewed.
        max_crashes: with so many ``crashes`` it is not acquired; a command such as `resume` resets the count.
    """

    def __init__(
        self, connection: RedisConnection, uid: str, owner: str, seconds: float, max_crashes: int = MAX_CRASHES
    ) -> None:
        self.connection = connection
        self.keys = connection.keys.of(uid)
        self.owner = owner
        self.milliseconds = int(seconds * 1000)
        self.max_crashes = max_crashes
        self.epoch = 0
        self.former: str | None = None
        self.crashes = 0

    async def acquire(self) -> bool:
        """Acquires the lease if nobody else holds it and the model is not set aside. A former owner of this name is fenced."""
        event = EventRecord(
            "worker", f"the worker {self.owner} learns the model", "worker", details={"worker": self.owner}
        )
        keys = [getattr(self.keys, noun) for noun in ("meta", "lease", "epoch", "head", "events", "routine")]
        arguments = [self.owner, self.milliseconds, self.max_crashes, secrets.token_hex(8), event.stored[1]]
        epoch, former, crashes = await self.connection.scripts.run("acquire", keys, arguments)
        self.epoch, self.former, self.crashes = max(0, int(epoch)), former.decode() or None, int(crashes)
        return self.epoch > 0

    async def renew(self) -> bool:
        """Renews it, also after it ran out if nobody took over; False: another owner has it, or the model was deleted."""
        keys = [self.keys.meta, self.keys.lease, self.keys.epoch]
        return bool(await self.connection.scripts.run("renew", keys, [self.owner, self.milliseconds, self.epoch]))

    async def release(self) -> None:
        """Releases it, so that another worker need not wait until it runs out."""
        await self.connection.scripts.run("release", [self.keys.meta, self.keys.lease], [self.owner])
        self.epoch = 0

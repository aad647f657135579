"""The ownership of a model: a lease that lasts for as long as its worker lives, and an epoch that fences every former owner.

Whether a worker lives, its heartbeats say (:mod:`driftline.store.workers`): one write renews the leases of all its models,
however many they are. Whoever finds the holder silent for too long takes the lease from it, by name: had another one been
quicker, the script refuses. What protects a model from two owners is not the clock but the epoch: each taking raises it, and
a commit under a former one changes nothing.
"""

from __future__ import annotations

import secrets

from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import EventRecord

MAX_CRASHES = 3
"""After so many worker processes in a row that died while they computed for a model, nobody takes it any more."""


class Lease:
    """One worker's claim on the model ``uid``.

    ``epoch`` is 0 while it is not held. ``former`` is the owner before, if it did not release its lease; ``crashes``
    counts the processes in a row that the model's turns have ended, as it was known when the lease was taken.

    Args:
        owner: the unique name of this worker.
        max_crashes: with so many ``crashes`` it is not acquired; a command such as `resume` resets the count.
    """

    def __init__(self, connection: RedisConnection, uid: str, owner: str, max_crashes: int = MAX_CRASHES) -> None:
        self.connection = connection
        self.uid = uid
        self.keys = connection.keys.of(uid)
        self.owner = owner
        self.max_crashes = max_crashes
        self.epoch = 0
        self.former: str | None = None
        self.crashes = 0

    async def acquire(self, dead: str | None = None) -> bool:
        """Acquires the lease if nobody else holds it and the model is not set aside. A former owner of this name is fenced.

        Args:
            dead: a holder that is known to be dead, from which it is taken.
        """
        event = EventRecord(
            "worker", f"the worker {self.owner} learns the model", "worker", details={"worker": self.owner}
        )
        keys = [getattr(self.keys, noun) for noun in ("meta", "lease", "epoch", "head", "events", "routine")]
        told = [event.stored[1], self.connection.keys.hints, self.uid]
        arguments = [self.owner, dead or "", self.max_crashes, secrets.token_hex(8), *told]
        epoch, former, crashes = await self.connection.scripts.run("acquire", keys, arguments)
        self.epoch, self.former, self.crashes = max(0, int(epoch)), former.decode() or None, int(crashes)
        return self.epoch > 0

    async def is_held(self) -> bool:
        """Whether no other worker has taken it since."""
        with store_errors():
            return 0 < self.epoch == int(await self.connection.redis.get(self.keys.epoch) or 0)

    async def release(self) -> None:
        """Releases it, so that another worker need not wait until this one counts as dead."""
        await self.connection.scripts.run("release", [self.keys.meta, self.keys.lease], [self.owner])
        self.epoch = 0

"""Who owns a model: a lease for a time, and an epoch that fences every former owner."""

from __future__ import annotations

from driftline.store.connection import RedisConnection


class Lease:
    """One worker's claim on the model ``uid``. ``epoch`` is 0 while it is not held."""

    def __init__(self, connection: RedisConnection, uid: str, owner: str, seconds: float) -> None:
        self.connection = connection
        self.keys = connection.keys.of(uid)
        self.owner = owner
        self.milliseconds = int(seconds * 1000)
        self.epoch = 0

    async def acquire(self) -> bool:
        """Takes the lease if nobody else holds it. ``owner`` must be nobody else's name: who died under it is fenced."""
        keys = [self.keys.meta, self.keys.lease, self.keys.epoch]
        self.epoch = max(0, int(await self.connection.scripts.run("acquire", keys, [self.owner, self.milliseconds])))
        return self.epoch > 0

    async def renew(self) -> bool:
        """Prolongs it, also after a pause in which nobody took over; False: another owner has it, or the model is gone."""
        keys = [self.keys.meta, self.keys.lease, self.keys.epoch]
        return bool(await self.connection.scripts.run("renew", keys, [self.owner, self.milliseconds, self.epoch]))

    async def release(self) -> None:
        """Gives it back, so that another worker need not wait for it to run out."""
        await self.connection.scripts.run("release", [self.keys.lease], [self.owner])
        self.epoch = 0

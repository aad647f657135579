"""The labels that a model has not learned, and why: the newest ones, committed with the steps that met them."""

from __future__ import annotations

import msgspec

from driftline.store.connection import RedisConnection, store_errors
from driftline.store.owners import EVERYTHING, Access, owner_of

MAX_REJECTED = 1000
"""How many are kept."""


class RejectedRecord(msgspec.Struct, frozen=True):
    """A label that was not learned: ``rejected``, as it did not fit, or ``quarantined``, as the network failed on it.

    ``n`` is its number in the log, ``time`` when it was met, in seconds since 1970.
    """

    n: int
    id: str
    state: str
    reason: str
    time: float


class RejectedLabels:
    """Those of the model ``uid``."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.connection = connection
        self.key = connection.keys.of(uid).rejected

    async def newest(self, count: int, before: int | None = None, access: Access = EVERYTHING) -> list[RejectedRecord]:
        """The newest ones that a caller sees, the newest first; ``before`` takes those of lower numbers alone."""
        end = "+inf" if before is None else f"({before}"
        most = count if access.sees_all else MAX_REJECTED
        with store_errors():
            found = await self.connection.redis.zrange(
                self.key, end, "-inf", desc=True, byscore=True, offset=0, num=most
            )
        records = [msgspec.json.decode(text, type=RejectedRecord) for text in found]
        return [record for record in records if access.sees(owner_of(record.id))][:count]

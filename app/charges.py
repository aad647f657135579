"""What a caller may ask for in a second: requests, bytes of bodies, and items of feedback.

Each process decides by its own buckets, at once, and settles with those of the store a few times a second: what all processes
of an instance let through is charged there, and each goes on with what is left. What was too much meanwhile is made up for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Literal

from driftline.errors import Busy, Unavailable
from driftline.settings import Settings
from driftline.store.shared_charges import Bucket, SharedCharges

Charged = Literal["requests", "bytes", "items"]
BURST_SECONDS = 5.0
"""What was not asked for so long may be asked for at once."""
SETTLE_SECONDS = 0.2


class TokenBucket:
    """Fills by ``rate`` a second, up to what :data:`BURST_SECONDS` bring. It takes what there is more than nothing for, however
    much that is, and nothing more until that is made up for: what a body holds is known only once it has come."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.level = rate * BURST_SECONDS
        self.filled_at = now

    def settle(self, level: float, now: float) -> None:
        """Holds as much as it has in common with others."""
        self.level, self.filled_at = level, now

    def take(self, amount: float, now: float) -> float:
        """Takes ``amount``, and gives 0; or takes nothing, and gives the seconds until something is there again."""
        self.level = min(self.rate * BURST_SECONDS, self.level + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.level <= 0:
            return (1 - self.level) / self.rate
        self.level -= amount
        return 0.0


class Charges:
    """The buckets of all callers as one process knows them, by the ids of their keys; there are as many as there are keys.

    A limit of 0 is none. While the store does not answer, each process counts by itself.
    """

    def __init__(self, limits: dict[Charged, float], clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = {what: limit for what, limit in limits.items() if limit}
        self._clock = clock
        self._buckets: dict[Bucket, TokenBucket] = {}
        self._taken: dict[Bucket, float] = {}
        self._is_new = asyncio.Event()

    @classmethod
    def of(cls, settings: Settings) -> Charges:
        """Those that the settings ask for."""
        return cls({"requests": settings.key_requests, "bytes": settings.key_bytes, "items": settings.key_items})

    def take(self, caller: str, what: Charged, amount: float) -> None:
        """Charges a caller before the work is done; :class:`Busy` where what it asked for before is not made up for yet."""
        limit = self.limits.get(what)
        if limit is None or not amount:
            return
        now = self._clock()
        whose = caller, what
        bucket = self._buckets.get(whose)
        if bucket is None:
            bucket = self._buckets[whose] = TokenBucket(limit, now)
            self._is_new.set()  # Other processes may know more of it: they are asked at once.
        seconds = bucket.take(amount, now)
        if seconds:
            message = f"more than {limit:g} {what} a second were sent with this key; send it again"
            raise Busy(message, code="rate_limited", retry_after=seconds)
        self._taken[whose] = self._taken.get(whose, 0.0) + amount

    async def run(self, shared: SharedCharges) -> None:
        """Settles with the store, again and again."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._is_new.wait()
            self._is_new.clear()
            with contextlib.suppress(Unavailable):
                await self.settle(shared)

    async def settle(self, shared: SharedCharges) -> None:
        """Charges callers in the store for what they were let have here since, and goes on with what is left there.

        Also of a caller that is refused: others may have let it have more, or its debt is made up for.
        """
        # What is not settled is forgotten where the store does not answer: an outage is no debt.
        taken, self._taken = self._taken, {}
        taken |= {whose: 0.0 for whose, bucket in self._buckets.items() if bucket.level <= 0 and whose not in taken}
        if not taken:
            return
        left = await shared.charge(taken, self.limits)
        now = self._clock()
        for whose, level in left.items():
            self._buckets[whose].settle(level - self._taken.get(whose, 0.0), now)

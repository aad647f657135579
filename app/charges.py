"""What a caller may ask for in a time: requests, bytes of bodies, items of feedback, rows and jobs.

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

Charged = Literal["requests", "bytes", "items", "rows", "jobs"]
MINUTE = 60.0
BURST_SECONDS = 5.0
"""What was not asked for so long may be asked for at once."""
SETTLE_SECONDS = 0.2


class TokenBucket:
    """Fills by ``rate`` a second, up to what :data:`BURST_SECONDS` bring. It takes what there is more than nothing for, however
    much that is, and nothing more until that is made up for: what a body holds is known only once it has come.

    ``taken`` counts what was, until whoever settles with others sets it back.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.taken = 0.0
        self.level = self.most = rate * BURST_SECONDS
        self.filled_at = now

    def settle(self, level: float, now: float) -> None:
        """Holds as much as it has in common with others."""
        self.level, self.filled_at = level, now

    def take(self, amount: float, now: float) -> float:
        """Takes ``amount``, and gives 0; or takes nothing, and gives the seconds until something is there again."""
        level = self.level + (now - self.filled_at) * self.rate
        self.level, self.filled_at = level if level < self.most else self.most, now
        if level <= 0:
            return (1 - level) / self.rate
        self.level -= amount
        self.taken += amount
        return 0.0


class Charges:
    """The buckets of all callers as one process knows them, by the ids of their keys; there are as many as there are keys.

    A limit of 0 is none. While the store does not answer, each process counts by itself.
    """

    def __init__(self, limits: dict[Charged, float], clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = {what: limit for what, limit in limits.items() if limit}
        self._rates = {what: limit / MINUTE if what == "jobs" else limit for what, limit in self.limits.items()}
        self._clock = clock
        self._buckets: dict[Charged, dict[str, TokenBucket]] = {what: {} for what in self.limits}
        self._is_new = asyncio.Event()

    @classmethod
    def of(cls, settings: Settings) -> Charges:
        """Those that the settings ask for."""
        return cls(
            {
                "requests": settings.key_requests,
                "bytes": settings.key_bytes,
                "items": settings.key_items,
                "rows": settings.key_rows,
                "jobs": settings.key_jobs,
            }
        )

    def take(self, caller: str, what: Charged, amount: float) -> None:
        """Charges a caller before the work is done; :class:`Busy` where what it asked for before is not made up for yet."""
        buckets = self._buckets.get(what)
        if buckets is None or not amount:
            return
        bucket = buckets.get(caller) or self._begin(buckets, caller, what)
        if seconds := bucket.take(amount, self._clock()):
            raise self._too_much(what, seconds)

    def check(self, caller: str, what: Charged) -> None:
        """:class:`Busy` where nothing more would be taken now, before it is known how much there is."""
        bucket = self._buckets.get(what, {}).get(caller)
        if bucket is not None and (seconds := bucket.take(0, self._clock())):
            raise self._too_much(what, seconds)

    def _begin(self, buckets: dict[str, TokenBucket], caller: str, what: Charged) -> TokenBucket:
        self._is_new.set()  # Other processes may know more of it: they are asked at once.
        bucket = buckets[caller] = TokenBucket(self._rates[what], self._clock())
        return bucket

    def _too_much(self, what: Charged, seconds: float) -> Busy:
        time_unit = "minute" if what == "jobs" else "second"
        message = f"more than {self.limits[what]:g} {what} a {time_unit} were sent with this key; send it again"
        return Busy(message, code="rate_limited", retry_after=seconds)

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
        buckets: dict[Bucket, TokenBucket] = {
            (caller, what): bucket for what, each in self._buckets.items() for caller, bucket in each.items()
        }
        taken = {whose: bucket.taken for whose, bucket in buckets.items() if bucket.taken or bucket.level <= 0}
        if not taken:
            return
        for whose in taken:
            buckets[whose].taken = 0.0
        left = await shared.charge(taken, self._rates)
        now = self._clock()
        for whose, level in left.items():
            bucket = buckets[whose]
            bucket.settle(level - bucket.taken, now)

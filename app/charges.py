"""What a caller may ask of a serving process in a second: requests, bytes of bodies, and items of feedback."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from driftline.errors import Busy
from driftline.settings import Settings

Charged = Literal["requests", "bytes", "items"]
BURST_SECONDS = 5.0
"""What was not asked for so long may be asked for at once."""


class TokenBucket:
    """Fills by ``rate`` a second, up to what :data:`BURST_SECONDS` bring. It takes what there is more than nothing for, however
    much that is, and nothing more until that is made up for: what a body holds is known only once it has come."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.level = rate * BURST_SECONDS
        self.filled_at = now

    def take(self, amount: float, now: float) -> float:
        """Takes ``amount``, and gives 0; or takes nothing, and gives the seconds until something is there again."""
        self.level = min(self.rate * BURST_SECONDS, self.level + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.level <= 0:
            return (1 - self.level) / self.rate
        self.level -= amount
        return 0.0


class Charges:
    """The buckets of all callers of one process, by the ids of their keys; there are as many as there are keys.

    A limit of 0 is none.
    """

    def __init__(self, limits: dict[Charged, float], clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = {what: limit for what, limit in limits.items() if limit}
        self._clock = clock
        self._buckets: dict[tuple[str, Charged], TokenBucket] = {}

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
        bucket = self._buckets.get((caller, what))
        if bucket is None:
            bucket = self._buckets[caller, what] = TokenBucket(limit, now)
        seconds = bucket.take(amount, now)
        if seconds:
            message = f"more than {limit:g} {what} a second were sent with this key; send it again"
            raise Busy(message, code="rate_limited", retry_after=seconds)

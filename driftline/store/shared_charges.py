"""Buckets of tokens that all replicas of an instance share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from driftline.store.connection import RedisConnection

Bucket = tuple[str, str]
"""Whose it is, and of what."""


class SharedCharges:
    """What each caller may still have, over all replicas. Fills by a rate of each, up to a burst."""

    def __init__(self, connection: RedisConnection, burst_seconds: float) -> None:
        self._connection = connection
        self._burst_seconds = burst_seconds

    async def charge(self, taken: Mapping[Bucket, float], rates: Mapping[Any, float]) -> dict[Bucket, float]:
        """What each bucket has left once these are taken from it; less than nothing where there was not so much.

        Raises:
            Unavailable: the store does not answer.
        """
        arguments: list[str | float] = [self._burst_seconds]
        for bucket, amount in taken.items():
            arguments += [":".join(bucket), rates[bucket[1]], amount]
        left = await self._connection.scripts.run("charge", [self._connection.keys.charges], arguments)
        return dict(zip(taken, map(float, left), strict=True))

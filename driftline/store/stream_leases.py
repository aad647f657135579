"""The streams that each caller has open, over all replicas of an instance."""

from __future__ import annotations

from collections.abc import Iterable

from driftline.store.connection import RedisConnection, store_errors


class StreamLeases:
    """Leases of open streams by caller: a replica that is killed renews none, and so gives its streams back.

    Args:
        seconds: how long a lease lasts after it was made or renewed. What is raised everywhere is :class:`Unavailable`, where
            the store does not answer.
    """

    def __init__(self, connection: RedisConnection, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self._connection = connection

    async def begin(self, caller: str, stream: str, most: int) -> bool:
        """Leases a stream; false where its caller has as many as it may."""
        return bool(await self._lease(caller, most, [stream]))

    async def renew(self, caller: str, streams: Iterable[str]) -> None:
        """Keeps streams open, also where the store has lost them."""
        await self._lease(caller, -1, streams)

    async def end(self, caller: str, stream: str) -> None:
        """Gives a stream back."""
        with store_errors():
            await self._connection.redis.zrem(self._connection.keys.open_streams(caller), stream)

    async def _lease(self, caller: str, most: int, streams: Iterable[str]) -> int:
        keys, arguments = [self._connection.keys.open_streams(caller)], [most, self.seconds, *streams]
        return int(await self._connection.scripts.run("lease_streams", keys, arguments))

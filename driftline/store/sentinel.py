"""A server that Redis Sentinel watches: whichever is the primary, also after a failover."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from driftline.store.redis_url import StoreUrl

PORT = 26379
TIMEOUTS = ("socket_timeout", "socket_connect_timeout")


class BlockingSentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary, for which a call waits where redis-py would open more or refuse."""

    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def connect_by_sentinels(found: StoreUrl, connections: int, wait_seconds: float, options: dict[str, Any]) -> Redis:
    """A client of the primary of a service, which asks the Sentinels where that is whenever it connects.

    Args:
        connections: the most that it opens; a call for which there is none waits for ``wait_seconds``.
        options: of each connection to the primary.
    """
    given: dict[str, Any] = dict(parse_url(f"{found.scheme}://{found.user}{found.end}"))
    is_tls = given.pop("connection_class", None) is not None
    own = {name: given.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    to_all = {name: value for name, value in given.items() if name.startswith("ssl_")} | {"ssl": is_tls}
    to_all |= {name: options[name] for name in TIMEOUTS if name in options}
    places = [(host, port or PORT) for host, port in found.hosts]
    manager = Sentinel(places, sentinel_kwargs={**to_all, **own})  # type: ignore[no-untyped-call]
    pool = BlockingSentinelPool(  # type: ignore[no-untyped-call]
        found.service,
        manager,
        **{**options, **given, "ssl": is_tls},
        max_connections=connections,
        timeout=wait_seconds,
    )
    return Redis.from_pool(pool)

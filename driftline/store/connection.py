"""The connection to Redis: its retries, its scripts, and its failures in Driftline's words."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
)

from driftline.errors import Unavailable
from driftline.store.redis_health import RedisHealth
from driftline.store.redis_keys import Keys

logger = logging.getLogger("driftline.store")

TROUBLE = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterError,
    RedisClusterException,
    OSError,
)


def connect(url: str, *, retries: int = 2) -> Redis | RedisCluster:
    """A client for ``url``. Every write of ours bears being sent twice.

    ``redis://``, ``rediss://`` (TLS) and ``unix://`` name a server; ``redis+cluster://`` and ``rediss+cluster://`` any node
    of a cluster.
    """
    retry = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), retries)
    scheme, _, rest = url.partition("://")
    client = RedisCluster if scheme.endswith("+cluster") else Redis
    return client.from_url(
        f"{scheme.removesuffix('+cluster')}://{rest}",
        retry=retry,
        socket_timeout=5,
        socket_connect_timeout=2,
        protocol=2,
    )


@contextmanager
def store_errors() -> Iterator[None]:
    """What Redis raises when it cannot serve becomes :class:`Unavailable`."""
    try:
        yield
    except TROUBLE as error:
        raise Unavailable(
            f"the store does not answer: {_first_line(error)}", code="store_unavailable", retry_after=1
        ) from error
    except ResponseError as error:
        if _first_line(error).startswith(("MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "NOAUTH", "WRONGPASS")):
            raise Unavailable(
                f"the store refuses: {_first_line(error)}", code="store_unavailable", retry_after=5
            ) from error
        raise
    except RuntimeError as error:
        if not _is_reset(error):
            raise
        raise Unavailable(
            "the store does not answer: connection lost", code="store_unavailable", retry_after=1
        ) from error


def _is_reset(error: RuntimeError) -> bool:
    """Whether it is what uvloop says where a connection was reset just before it is written to."""
    return "the handler is closed" in str(error)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@cache
def source(name: str) -> str:
    """The text of ``scripts/NAME.lua``."""
    return files("driftline.store").joinpath("scripts", f"{name}.lua").read_text()


@cache
def digest(name: str) -> str:
    """What a server knows the script by, once it has run it."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Runs the Lua scripts by digest, and in full where the server does not have one."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis

    async def run(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        with store_errors():
            try:
                return await self.redis.evalsha(digest(name), len(keys), *keys, *arguments)
            except NoScriptError:
                return await self.redis.eval(source(name), len(keys), *keys, *arguments)


class HighWatermarks:
    """Where the log of each model ends at least: what this process was told of.

    A store that syncs every second, and a replica that takes over, may lack what is younger than ``unsettled_seconds``;
    a store without an append-only file may lack all, and has said so.
    """

    def __init__(self, server: RedisHealth, unsettled_seconds: float = 5.0) -> None:
        self.server = server
        self.unsettled_seconds = unsettled_seconds
        self._told: dict[str, deque[tuple[float, int]]] = {}

    def note(self, uid: str, n: int) -> None:
        """The server has said that record ``n`` is the newest; what it may have lost, it has."""
        now, told = time.monotonic(), self._told.setdefault(uid, deque([(-math.inf, 0)]))
        while told[-1][1] > n:
            told.pop()
        if now - told[-1][0] >= self.unsettled_seconds / 5:
            told.append((now, n))
        while len(told) > 1 and now - told[1][0] >= self.unsettled_seconds:
            told.popleft()

    def keep(self, uids: Collection[str]) -> None:
        """Forgets all other models: one that is restored under its uid begins anew."""
        self._told = {uid: told for uid, told in self._told.items() if uid in uids}

    def known(self, uid: str) -> int:
        """The number of a record that must be there; 0 where none is known."""
        told = self._told.get(uid)
        return told[0][1] if told and self.server.known.durability != "none" else 0


class RedisConnection:
    """One process's way to the store: the client, the keys that begin with its prefix, the scripts.

    ``watch_seconds`` is how often :meth:`watch` looks.
    """

    def __init__(self, url: str, prefix: str, *, watch_seconds: float = 2.0) -> None:
        self.watch_seconds = watch_seconds
        # redis-py types an answer as all that any protocol and decoding could give; here it is always bytes.
        self.redis: Any = connect(url)
        self.keys = Keys(prefix)
        self.scripts = Scripts(self.redis)
        self.server = RedisHealth(self.redis)
        self.store_id: str | None = None
        self.ends = HighWatermarks(self.server)
        self._is_lost = False
        self._clock_offset = time.time() - time.monotonic()

    def recognise(self, store_id: str | None, known: str | None) -> None:
        """Checks that this is still the store that this process began with.

        Args:
            known: ``self.store_id`` as it was when the store was asked: a new store gets its id between two answers.

        Raises:
            Unavailable: ``store_lost``: it has been emptied, or another one has taken its place.
        """
        self.store_id = self.store_id or store_id
        was_lost, self._is_lost = self._is_lost, known is not None and store_id != known
        if self._is_lost:
            error = Unavailable(
                "the store has lost its data: it is not the one that this process began with; restore its backup, or "
                "restart Driftline to go on with what is there",
                code="store_lost",
            )
            if not was_lost:
                logger.error("%s", error)
            raise error

    async def until_available(self, seconds: float) -> None:
        """Waits for the server; :class:`Unavailable` when it does not come within ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with store_errors():
                    await self.redis.ping()
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def watch(self) -> None:
        """Keeps fresh what this process knows of its server, and says what is wrong with it, until cancelled."""
        said: dict[str, str] = {}
        while True:
            alarms = (await self.server.state()).alarms
            for kind in alarms.keys() - said.keys():
                logger.warning("%s", alarms[kind])
            for kind in said.keys() - alarms.keys():
                logger.warning("it is over: %s", said[kind])
            said = alarms
            with suppress(Unavailable):
                await self.time()
            await asyncio.sleep(self.watch_seconds)

    async def time(self) -> float:
        """The time by the clock of Redis, in seconds since 1970."""
        with store_errors():
            seconds, micros = await self.redis.time()
        now = float(seconds + micros / 1e6)
        self._clock_offset = now - time.monotonic()
        return now

    def now(self) -> float:
        """The time by the clock of Redis as it was last asked. A clock of this machine that is set moves it nowhere."""
        return time.monotonic() + self._clock_offset

    async def hints(self) -> AsyncIterator[str | None]:
        """The uids of models that have changed, as they change; None after each (re)connection, when some may be lost."""
        while True:
            try:
                await self.redis.initialize()  # A cluster's nodes must be known before one of them is subscribed to.
                async with self.redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(self.keys.hints)
                    yield None
                    async for message in channel.listen():
                        yield message["data"].decode()
            except (RedisError, RedisClusterException, OSError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not _is_reset(error):
                    raise
                await asyncio.sleep(random.uniform(0.2, 1.0))

    async def close(self) -> None:
        await self.redis.aclose()

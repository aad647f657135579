"""The connection to Redis: retries, scripts, and the translation of its failures into Driftline's errors."""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import logging
import math
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
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

from driftline.errors import Unavailable, told_by
from driftline.store.redis_health import RedisHealth
from driftline.store.redis_keys import Keys
from driftline.store.redis_url import parse_redis_url, unreadable_url
from driftline.store.sentinel import connect_by_sentinels

logger = logging.getLogger("driftline.store")

MAX_CONNECTIONS = 128
"""The most connections of one process to its server."""

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


def connect(
    url: str, *, retries: int = 2, connections: int = MAX_CONNECTIONS, wait_seconds: float = 15.0
) -> Redis | RedisCluster:
    """A client for ``url``, which retries: every write of ours is idempotent.

    ``redis://``, ``rediss://`` (TLS) and ``unix://`` name a server; ``redis+cluster://`` and ``rediss+cluster://`` any node
    of a cluster; ``redis+sentinel://`` and ``rediss+sentinel://`` the Sentinels of a service; :class:`ConfigurationError`
    where it cannot be read. Options of TLS stand in it as redis-py names them:
    ``rediss://store:6380?ssl_ca_certs=/etc/store/ca.pem``.

    Args:
        connections: the most that it opens to a server, or to each node of a cluster; a call for which there is none
            waits for one.
        wait_seconds: how long it waits before the store counts as not answering.
    """
    retry = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), retries)
    found = parse_redis_url(url)
    options: dict[str, Any] = {"retry": retry, "socket_timeout": 5, "socket_connect_timeout": 2, "protocol": 2}
    try:
        if found.kind == "sentinel":
            return connect_by_sentinels(found, connections, wait_seconds, options)
        if found.kind == "cluster":
            return BoundedCluster.from_url(found.url, calls=connections, wait_seconds=wait_seconds, **options)
        pool = BlockingConnectionPool.from_url(found.url, max_connections=connections, timeout=wait_seconds, **options)
        return Redis.from_pool(pool)
    except (ValueError, TypeError, RedisClusterException):
        raise unreadable_url() from None


class BoundedCluster(RedisCluster):
    """A cluster whose calls wait for their turn, where redis-py would open a connection for each of them.

    Args:
        calls: the most that run at a time, so no node gets more connections.
        wait_seconds: how long a call waits before the store counts as not answering.
    """

    def __init__(self, *args: Any, calls: int, wait_seconds: float, **options: Any) -> None:
        super().__init__(*args, **options)
        # redis-py takes away from whatever reads an answer which keys were asked for, but not in a transaction of a cluster.
        for command, read in self.response_callbacks.items():
            self.response_callbacks[command] = _without_keys(read)
        self._turns = asyncio.Semaphore(calls)
        self._wait_seconds = wait_seconds

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except builtins.TimeoutError:
            raise ConnectionError("no connection is free") from None
        try:
            return await super().execute_command(*args, **options)
        finally:
            self._turns.release()


def _without_keys(read: Callable[..., Any]) -> Callable[..., Any]:
    return lambda answer, keys=None, **options: read(answer, **options)


@contextmanager
def store_errors() -> Iterator[None]:
    """Errors of Redis while it cannot serve become :class:`Unavailable`."""
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
    except (RuntimeError, AttributeError) as error:
        if not _is_reset(error):
            raise
        raise Unavailable(
            "the store does not answer: connection lost", code="store_unavailable", retry_after=1
        ) from error


def _is_reset(error: Exception) -> bool:
    """Whether a connection was lost just before a write: as uvloop says it, or redis-py, whose writer is gone by then."""
    return "the handler is closed" in str(error) or (isinstance(error, AttributeError) and error.obj is None)


def _first_line(error: BaseException) -> str:
    return told_by(error).splitlines()[0]


@cache
def source(name: str) -> str:
    """The text of ``scripts/NAME.lua``, after that of the script that it names in a first line ``-- after OTHER.lua``."""
    text = files("driftline.store").joinpath("scripts", f"{name}.lua").read_text()
    other = re.match(r"-- after (\w+)\.lua\n", text)
    return source(other[1]) + text if other else text


@cache
def digest(name: str) -> str:
    """The digest by which a server knows the script, once it has run it."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Runs the Lua scripts by digest, and by their source where the server does not know one."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis

    async def run(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        with store_errors():
            return await self.run_elsewhere(name, keys, arguments)

    async def run_elsewhere(self, name: str, keys: list[str], arguments: list[Any]) -> Any:
        """The same on a server that is not the store: what it raises are Redis's own errors."""
        try:
            return await self.redis.evalsha(digest(name), len(keys), *keys, *arguments)
        except NoScriptError:
            return await self.redis.eval(source(name), len(keys), *keys, *arguments)


class HighWatermarks:
    """The highest record number of each model's log that the server has acknowledged to this process.

    A store that syncs every second, or a replica that takes over, may lack what is younger than ``unsettled_seconds``;
    a store without an append-only file may lack everything, and says so.
    """

    def __init__(self, server: RedisHealth, unsettled_seconds: float = 5.0) -> None:
        self.server = server
        self.unsettled_seconds = unsettled_seconds
        self._told: dict[str, deque[tuple[float, int]]] = {}

    def note(self, uid: str, n: int) -> None:
        """Notes that the server has acknowledged record ``n`` as the newest; what may be lost by then is forgotten."""
        now, told = time.monotonic(), self._told.setdefault(uid, deque([(-math.inf, 0)]))
        while told[-1][1] > n:
            told.pop()
        if now - told[-1][0] >= self.unsettled_seconds / 5:
            told.append((now, n))
        while len(told) > 1 and now - told[1][0] >= self.unsettled_seconds:
            told.popleft()

    def keep(self, uids: Collection[str]) -> None:
        """Forgets all other models, so that one that is restored under its uid starts again."""
        self._told = {uid: told for uid, told in self._told.items() if uid in uids}

    def known(self, uid: str) -> int:
        """The number of a record that must exist; 0 if none is known."""
        told = self._told.get(uid)
        return told[0][1] if told and self.server.known.durability != "none" else 0


class RedisConnection:
    """One process's connection to the store: the client, the keys with its prefix, the scripts.

    ``watch_seconds`` is how often :meth:`watch` looks. ``hears`` says whether hints come: while they do, no hint is lost but
    with the connection that brings them.

    Args:
        connections: the most to a server at once.
        silent_seconds: after so long without a hint, the connection that brings them is asked for a sign of life.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        *,
        watch_seconds: float = 2.0,
        connections: int = MAX_CONNECTIONS,
        silent_seconds: float = 5.0,
    ) -> None:
        self.watch_seconds = watch_seconds
        self.silent_seconds = silent_seconds
        self.hears = False
        # redis-py types an answer as everything that any protocol and decoding could give; here it is always bytes.
        self.redis: Any = connect(url, connections=connections)
        self.keys = Keys(prefix)
        self.scripts = Scripts(self.redis)
        self.server = RedisHealth(self.redis)
        self.store_id: str | None = None
        self.ends = HighWatermarks(self.server)
        self.owners_noted: dict[tuple[str, str], float] = {}
        self._is_lost = False
        self._clock_offset = time.time() - time.monotonic()

    def recognise(self, store_id: str | None, known: str | None) -> None:
        """Checks that this is still the store with which this process started.

        Args:
            known: ``self.store_id`` before the store was asked, as a new store may get its id in between.

        Raises:
            Unavailable: ``store_lost``: it was emptied or replaced.
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
        """Waits until the server answers; :class:`Unavailable` when it does not within ``seconds``."""
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
        """Updates the known state of the server, and logs its alarms, until cancelled."""
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

    async def try_write(self) -> None:
        """Writes something that nobody needs; :class:`Unavailable` where the store takes no write, as a replica."""
        with store_errors():
            await self.redis.set(self.keys.probe, 1, px=60_000)

    def now(self) -> float:
        """The time by the clock of Redis, from its last answer and the monotonic clock, which nobody can set."""
        return time.monotonic() + self._clock_offset

    async def hints(self) -> AsyncIterator[str | None]:
        """The uids of models that have changed, as they change; None after each (re)connection, when some may be lost."""
        while True:
            try:
                await self.redis.initialize()  # A cluster's nodes must be known before one of them is subscribed to.
                async with self.redis.pubsub() as channel:
                    await channel.subscribe(self.keys.hints)
                    async for message in self._heard(channel):
                        if message["type"] == "subscribe":
                            self.hears = True
                            yield None
                        elif message["type"] == "message":
                            yield message["data"].decode()
            except (RedisError, RedisClusterException, OSError, RuntimeError, AttributeError) as error:
                if isinstance(error, RuntimeError | AttributeError) and not _is_reset(error):
                    raise
                self.hears = False
                await asyncio.sleep(random.uniform(0.2, 1.0))
            finally:
                self.hears = False

    async def _heard(self, channel: Any) -> AsyncIterator[dict[str, Any]]:
        """What comes on a channel; it is asked for an answer when it is silent, and given up when it stays so."""
        is_asked = True  # A subscription is answered at once.
        while True:
            message = await channel.get_message(timeout=self.silent_seconds)
            if message is not None:
                is_asked = False
                yield message
            elif is_asked:
                raise ConnectionError("the connection that brings hints is silent")
            else:
                await channel.ping()
                is_asked = True

    async def close(self) -> None:
        await self.redis.aclose()

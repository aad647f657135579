"""The health of the store's server: the durability of its writes, its eviction policy, and how full its memory is."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from driftline.support.formatting import size_text

DURABILITY = ["unverified", "none", "everysec", "fsync_always"]
"""From the weakest word to the strongest."""
NEARLY_FULL, FULL = 0.8, 0.95
MAX_MACHINE_SHARE = 0.8
"""What a server without a ``maxmemory`` may take of its machine's memory: the system and other processes live there too."""


@dataclass(frozen=True)
class RedisState:
    """The state of a server. What it hides is ``unverified``, None or 0. ``room_bytes`` is the most memory that it may use."""

    durability: str = "unverified"
    policy: str | None = None
    used_bytes: int = 0
    room_bytes: int = 0

    @property
    def fullness(self) -> float:
        """The used share of its memory."""
        return self.used_bytes / self.room_bytes if self.room_bytes else 0.0

    @property
    def is_full(self) -> bool:
        """Whether the rest of its memory is reserved for the worker's steps and checkpoints, which free memory."""
        return self.fullness >= FULL

    @property
    def warning(self) -> str | None:
        """Why an acknowledged label may be lost although nothing has gone wrong."""
        alarms = self.alarms
        return " ".join(alarms[kind] for kind in ("store_evicts", "store_forgets") if kind in alarms) or None

    @property
    def alarms(self) -> dict[str, str]:
        """Current problems: kind → message."""
        found = {}
        if self.policy not in (None, "noeviction"):
            found["store_evicts"] = (
                f"The store evicts (maxmemory-policy {self.policy}): when its memory is full, it drops labels and models "
                "that were acknowledged; set maxmemory-policy noeviction."
            )
        if self.durability == "none":
            found["store_forgets"] = (
                "The store forgets (no append-only file): when it restarts, every label since its last snapshot is gone; "
                "set appendonly yes and appendfsync always."
            )
        if self.fullness >= NEARLY_FULL:
            found["store_memory"] = (
                f"The store uses {size_text(self.used_bytes)} of {size_text(self.room_bytes)} ({self.fullness:.0%}); from "
                f"{FULL:.0%} on feedback is refused and predictions are not recorded; raise maxmemory, or lower "
                "DRIFTLINE_PREDICTION_BYTES and DRIFTLINE_LOG_KEEP."
            )
        return found


class RedisHealth:
    """The server of a client, asked again after ``max_age_seconds``; of a cluster, the worst of its primaries."""

    def __init__(self, redis: Any, max_age_seconds: float = 2.0) -> None:
        self.redis = redis
        self.max_age_seconds = max_age_seconds
        self.known = RedisState()
        """The last known state."""
        self._asked = -math.inf

    async def state(self) -> RedisState:
        """The server's state; while it does not answer, the last known one."""
        if time.monotonic() - self._asked >= self.max_age_seconds:
            try:
                self.known = await self._ask()
            except (RedisError, RedisClusterException, OSError):
                return self.known
            self._asked = time.monotonic()
        return self.known

    async def _ask(self) -> RedisState:
        if not isinstance(self.redis, RedisCluster):
            return await self._ask_node()
        await self.redis.initialize()
        return worst(await asyncio.gather(*(self._ask_node(target_nodes=node) for node in self.redis.get_primaries())))

    async def _ask_node(self, **node: Any) -> RedisState:
        settings, info = await asyncio.gather(
            _unless_hidden(self.redis.config_get, "append*", **node), _unless_hidden(self.redis.info, "memory", **node)
        )
        return RedisState(_durability(settings), info.get("maxmemory_policy"), info.get("used_memory", 0), room(info))


def room(info: dict[str, Any]) -> int:
    """The most memory in bytes that a server with this INFO may use; 0 if it hides that."""
    return info.get("maxmemory") or int(info.get("total_system_memory", 0) * MAX_MACHINE_SHARE)


def worst(states: list[RedisState]) -> RedisState:
    """The worst of the states of a cluster's primaries."""
    fullest = max(states, key=lambda state: state.fullness)
    return RedisState(
        durability=min((state.durability for state in states), key=DURABILITY.index),
        policy=next((state.policy for state in states if state.policy not in (None, "noeviction")), states[0].policy),
        used_bytes=fullest.used_bytes,
        room_bytes=fullest.room_bytes,
    )


async def _unless_hidden(ask: Callable[..., Awaitable[dict[str, Any]]], what: str, **node: Any) -> dict[str, Any]:
    try:
        return await ask(what, **node)
    except ResponseError:
        return {}


def _durability(settings: dict[str, Any]) -> str:
    if "appendonly" not in settings:
        return "unverified"
    if settings["appendonly"] != "yes":
        return "none"
    return {"always": "fsync_always", "everysec": "everysec"}.get(str(settings.get("appendfsync")), "none")

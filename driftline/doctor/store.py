"""The store itself: whether it answers, and whether its writes are durable."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import ResponseError

from driftline.doctor.finding import Finding, error, ok, warning
from driftline.errors import Unavailable
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.redis_health import FULL, NEARLY_FULL
from driftline.store.redis_health import room as room_of
from driftline.support.formatting import size_text

OLDEST = (7, 0)


async def check(connection: RedisConnection, url: str) -> list[Finding]:
    """Checks the server's configuration; a single finding if it does not answer."""
    try:
        with store_errors():
            await connection.redis.ping()
        durability = (await connection.server.state()).durability
        info = await _info(connection)
    except Unavailable as trouble:
        return [_unreachable(url, trouble)]
    except ResponseError as trouble:
        return [_unreachable(url, Unavailable(f"the store refuses: {trouble}"))]
    checks = [check_version(info, shown(url)), check_durability(durability)]
    return [*checks, check_eviction(info), *check_memory(info), *check_writes(info)]


def is_reachable(findings: list[Finding]) -> bool:
    """Whether the store answers, so that it can be checked further."""
    return not any(finding.check == "store" and finding.level == "error" for finding in findings)


def lost(trouble: Unavailable) -> Finding:
    """The finding for a store that stopped answering during the check."""
    return error("store", trouble.message, "see that the store keeps running, then ask again; not all was checked")


def shown(url: str) -> str:
    """The address without its password.

    >>> shown("redis://me:secret@host:6379/0")
    'redis://host:6379/0'
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _unreachable(url: str, trouble: Unavailable) -> Finding:
    advice = "start it, or set DRIFTLINE_REDIS_URL to where it is, with its user and password if it asks for them"
    return error("store", f"{shown(url)}: {trouble.message}", advice)


async def _info(connection: RedisConnection) -> dict[str, Any]:
    """The answer to INFO; empty if the server hides it."""
    try:
        with store_errors():
            found: dict[str, Any] = await connection.redis.info()
    except ResponseError:
        return {}
    return found


def check_version(info: dict[str, Any], address: str) -> Finding:
    """A Redis or Valkey of 7.0 or newer, that may be written to."""
    if info.get("role") == "slave":
        advice = "set DRIFTLINE_REDIS_URL to its primary"
        return error("store", f"{address} is a replica, which cannot be written", advice)
    if "redis_version" not in info:
        advice = "see for yourself that it is a Redis or Valkey of 7.0 or newer, or allow this user INFO"
        return warning("store", f"{address} answers, but hides its version: unverified", advice)
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return error("store", f"{address} is of version {version}", "run Redis or Valkey 7.0 or newer")
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    return ok("store", f"{address} answers: {name}")


def check_durability(level: str) -> Finding:
    """Whether a power cut may lose acknowledged writes."""
    advice = "set appendonly yes and appendfsync always in the store's configuration"
    match level:
        case "fsync_always":
            return ok("durability", "a power cut costs nothing that was acknowledged (appendfsync always)")
        case "everysec":
            return warning("durability", "a power cut may cost about the last second of labels (everysec)", advice)
        case "none":
            message = "a power cut or a restart may cost every label and step since the last snapshot (none)"
            return error("durability", message, advice)
    message = "the store hides its configuration, so what a power cut may cost is unverified"
    return warning("durability", message, "allow this user CONFIG GET, or see for yourself: " + advice)


def check_eviction(info: dict[str, Any]) -> Finding:
    """Whether a full store refuses writes, instead of evicting keys."""
    policy, advice = info.get("maxmemory_policy"), "set maxmemory-policy noeviction in the store's configuration"
    if policy is None:
        message = "the store hides its maxmemory-policy: unverified"
        return warning("eviction", message, "allow this user INFO, or see for yourself: " + advice)
    if policy == "noeviction":
        return ok("eviction", "a full store refuses writes and drops nothing (noeviction)")
    message = f"maxmemory-policy is {policy}: when the store is full, it drops models and labels"
    return error("eviction", message, advice)


def check_memory(info: dict[str, Any]) -> list[Finding]:
    """Whether the server has free memory."""
    if "used_memory" not in info:
        return []
    used, room = info["used_memory"], room_of(info)
    whose = "its maxmemory" if info.get("maxmemory") else "its share of the machine's memory"
    message = f"the store uses {size_text(used)}" + (f" of {size_text(room)}, {whose}" if room else "")
    advice = "raise maxmemory, or lower DRIFTLINE_PREDICTION_BYTES and DRIFTLINE_LOG_KEEP; full, it refuses feedback"
    if room and used >= FULL * room:
        return [error("memory", message, advice)]
    if room and used >= NEARLY_FULL * room:
        return [warning("memory", message, advice)]
    return [ok("memory", message)]


def check_writes(info: dict[str, Any]) -> list[Finding]:
    """Whether the server could last write its own files."""
    failed = [name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if info.get(name, "ok") != "ok"]
    advice = "look for a full disk or for missing rights where the store keeps its data"
    return [error("durability", f"the store could not write its files ({name})", advice) for name in failed]

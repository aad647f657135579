"""Checks every model; one that cannot be read does not keep the others from being checked."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from redis.exceptions import RedisError

from driftline.doctor import artifacts, device, learning, order, snapshot
from driftline.doctor.finding import Finding, error, ok
from driftline.doctor.snapshot import StoreSnapshot
from driftline.errors import DriftlineError, Unavailable
from driftline.settings import Settings
from driftline.store.connection import RedisConnection
from driftline.support.formatting import count_text

UNREADABLE = (DriftlineError, RedisError, msgspec.MsgspecError, ValueError, KeyError, OSError)


async def check_models(
    connection: RedisConnection, settings: Settings, names: Mapping[str, str], is_running: bool
) -> list[Finding]:
    """The findings of each model, by name."""
    findings = [ok("models", f"the store knows {count_text(len(names), 'model')}")]
    for name, uid in sorted(names.items()):
        try:
            findings += await _check(connection, settings, name, uid, is_running)
        except Unavailable:
            raise
        except UNREADABLE as trouble:
            findings.append(_unreadable(name, trouble))
    return findings


async def _check(
    connection: RedisConnection, settings: Settings, name: str, uid: str, is_running: bool
) -> list[Finding]:
    model = await snapshot.read(connection, name, uid)
    if model is None:
        return []
    return [
        *_check_live_version(model),
        *await artifacts.check(connection, settings, model),
        *await order.check(connection, model),
        *learning.check(model, settings, is_running),
        *device.check_model(model),
    ]


def _check_live_version(model: StoreSnapshot) -> list[Finding]:
    """The live version must be one that is known."""
    if any(version.version == model.head.version for version in model.versions):
        return []
    message = f"{model.name}: the live version {model.head.version} is not in its history"
    return [error("models", message, _STOP)]


def _unreadable(name: str, trouble: Exception) -> Finding:
    reason = f"its {trouble} is missing" if isinstance(trouble, KeyError) else str(trouble)
    return error("models", f"{name}: what the store keeps of it cannot be read: {reason}", _STOP)


_STOP = "stop every worker, so that nothing more is changed; then restore the store from a backup"

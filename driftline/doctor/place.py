"""Finds the store: that of the settings, that of a running ``driftline up``, or one that is started for the check."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from driftline.doctor.finding import Finding, error, warning
from driftline.errors import ConfigurationError
from driftline.processes.embedded import EmbeddedServer, running_url
from driftline.processes.supervisor import Guard
from driftline.settings import Settings
from driftline.store.redis_url import parse_redis_url


@dataclass(frozen=True)
class Installation:
    """The URL of the store; None if there is none. ``is_running``: processes of Driftline may be using it."""

    url: str | None
    is_running: bool
    findings: list[Finding] = field(default_factory=list)


@contextlib.contextmanager
def find(settings: Settings, lock_seconds: float = 5.0) -> Iterator[Installation]:
    """The store of these settings, for as long as the check takes; data in use is waited for ``lock_seconds``."""
    if settings.redis_url is not None:
        yield _given(settings.redis_url)
    elif url := running_url(settings.data_dir):
        yield Installation(url, True)
    elif os.path.isdir(settings.data_dir / "valkey"):
        with _started(settings, lock_seconds) as place:
            yield place
    else:
        yield Installation(None, False, [_nothing(settings)])


def _given(url: str) -> Installation:
    try:
        parse_redis_url(url)
    except ConfigurationError as trouble:
        return Installation(
            None,
            False,
            [error("store", trouble.message, "set DRIFTLINE_REDIS_URL to redis://HOST:PORT, rediss://… or unix://…")],
        )
    return Installation(url, True)


@contextlib.contextmanager
def _started(settings: Settings, lock_seconds: float) -> Iterator[Installation]:
    """Driftline's own server, under the lock that keeps ``up`` from opening the same data."""
    with Guard() as guard:
        server = EmbeddedServer(settings.data_dir, guard, lock_seconds=lock_seconds)
        try:
            yield _start(server)
        finally:
            server.stop()


def _start(server: EmbeddedServer) -> Installation:
    try:
        server.start()
    except ConfigurationError as trouble:
        advice = "if `driftline up` is starting or stopping on it, ask again in a minute; else the log is " + str(
            server.folder / "valkey.log"
        )
        return Installation(None, False, [error("store", trouble.message, advice)])
    return Installation(server.url, False)


def _nothing(settings: Settings) -> Finding:
    return warning(
        "store",
        f"no store is set, and {settings.data_dir} holds none",
        "`driftline up` starts one; if yours is elsewhere, give --data-dir or set DRIFTLINE_REDIS_URL",
    )

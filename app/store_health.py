"""Whether the store can be read and written, and who learns: looked at in the background, and told with its age."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from driftline.api.health import WorkerList
from driftline.api.metrics import AlarmState
from driftline.errors import Unavailable
from driftline.settings import Settings
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.redis_health import RedisState
from driftline.store.source_lags import RowLags, SourceLag
from driftline.store.workers import Heartbeat, Workers
from driftline.support.formatting import time_text

from .sampling import Measurement
from .worker_states import worker_alarms, worker_list

OVERDUE_SECONDS = 5.0
"""A store that has not answered for longer counts as down."""

STORE_LOST = "store_lost"

Access = Literal["available", "read_only", "unavailable"]


@dataclass(frozen=True)
class StoreHealth:
    """The store at one moment.

    ``error`` is why it could not be read or written. ``row_lags`` are what sources of rows have left to read. ``names`` is
    name → uid of every model. ``write_seconds`` is how long a write took.
    """

    access: Access
    error: Unavailable | None = None
    state: RedisState = field(default_factory=RedisState)
    heartbeats: tuple[Heartbeat, ...] = ()
    row_lags: tuple[SourceLag, ...] = ()
    workers: WorkerList = field(default_factory=lambda: WorkerList(workers=[], unowned=[]))
    names: Mapping[str, str] = field(default_factory=dict)
    write_seconds: float | None = None


async def look(connection: RedisConnection, catalog: Catalog, settings: Settings) -> StoreHealth:
    """Reads what there is, and tries a write."""
    try:
        names = await catalog.newest_names()
        heartbeats = await Workers(connection).read()
        row_lags = await RowLags(connection).read()
        state = await connection.server.state()
    except Unavailable as error:
        return StoreHealth("unavailable", error, connection.server.known)
    listed = worker_list(heartbeats, names, {}, connection.now(), settings.hung_seconds)
    uids = {*names.values()}
    lags = tuple(lag for lag in row_lags if lag.model in uids)
    seen = StoreHealth("available", None, state, tuple(heartbeats), lags, listed, names)
    begin = time.monotonic()
    try:
        await connection.try_write()
    except Unavailable as error:
        return replace(seen, access="read_only", error=error)
    return replace(seen, write_seconds=time.monotonic() - begin)


def access_of(sample: Measurement[StoreHealth]) -> Access:
    """Whether the store can be used now: one whose newest answer is too old does not answer."""
    return "unavailable" if sample.age > OVERDUE_SECONDS else sample.value.access


def store_alarms(sample: Measurement[StoreHealth]) -> Iterator[AlarmState]:
    """What is wrong with the store, and with the workers as far as it tells."""
    access, health = access_of(sample), sample.value
    if access == "unavailable":
        error = sample.value.error
        is_lost = error is not None and error.code == STORE_LOST
        yield {
            "kind": STORE_LOST if is_lost else "store_unavailable",
            "state": "standing",
            "message": _unavailable(sample),
        }
    else:
        yield from worker_alarms(health.workers, bool(health.names))
    if access == "read_only":
        yield {"kind": "store_read_only", "state": "standing", "message": _read_only(health)}
    for kind, message in health.state.alarms.items():
        yield {"kind": kind, "state": "standing", "message": message}


def _unavailable(sample: Measurement[StoreHealth]) -> str:
    error = sample.value.error
    if error is None or sample.value.access != "unavailable":
        why = f"the store has not answered for {time_text(sample.age)}"
    else:
        why = error.message
    return f"{why}; loaded models are still served, and feedback and changes are refused"


def _read_only(health: StoreHealth) -> str:
    assert health.error is not None
    return (
        f"the store can be read, and takes no write ({health.error.message}): nothing is learned, and feedback is refused; "
        "make it the primary again (REPLICAOF NO ONE), or set DRIFTLINE_REDIS_URL to the primary"
    )

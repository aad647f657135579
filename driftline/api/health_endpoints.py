"""The calls that tell of the processes: probes, workers, and what is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from driftline.api import examples
from driftline.api.endpoint import TEXT, Endpoint
from driftline.api.lazily import LazyModule
from driftline.api.scopes import ANYONE, READER

if TYPE_CHECKING:
    from driftline.api import health
else:
    health = LazyModule("driftline.api.health")

HEALTH = "health"

LIST_WORKERS: Final = Endpoint(
    "GET",
    "/v1/workers",
    health.WorkerList,
    "List workers",
    HEALTH,
    READER,
    "Every worker, with the models that it owns, its load, and whether it hangs; and the models that none owns.",
    {"workers": [examples.WORKER], "unowned": []},
    client="workers",
)
LIVEZ: Final = Endpoint(
    "GET",
    "/livez",
    health.Alive,
    "Is the process alive",
    HEALTH,
    ANYONE,
    "Answers for as long as the process runs.",
    {"status": "alive"},
    client="live",
)
READYZ: Final = Endpoint(
    "GET",
    "/readyz",
    health.Ready,
    "Can it answer",
    HEALTH,
    ANYONE,
    "Ready once it has seen the store. Without the store it stays ready: predictions go on from the loaded versions. It never "
    "waits for the store: `store` is what a look in the background found, `age` seconds ago.\n\n"
    "It is not ready while one of its background tasks fails; the error names it. `alarms` say what is wrong with the store: "
    "it does not answer, takes no writes, evicts, forgets, or its memory is nearly full; that a worker hangs (`worker_hung`) "
    "or none runs (`no_worker`); and which model (`swap_failed`) cannot serve its newest version.",
    {"status": "ready", "store": "available", "age": 0.4, "alarms": []},
    client="ready",
)
PROMETHEUS: Final = Endpoint(
    "GET",
    "/metrics",
    str,
    "Prometheus",
    HEALTH,
    frozenset({"metrics"}),
    "Everything that is measured, in Prometheus' text format; what serving processes count, added up over all of them.",
    answer_kind=TEXT,
)

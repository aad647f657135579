"""``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from driftline.api import endpoints
from driftline.api.health import Alive, Ready, WorkerList
from driftline.api.metrics import AlarmState
from driftline.errors import Unavailable
from driftline.store.catalog import CatalogEntry
from driftline.store.redis_health import RedisState

from ..services import Has, Services
from ..worker_states import worker_list
from .models import SWAP_FAILED, model_metrics
from .mount import serves

router = APIRouter()

STORE_DOWN = GaugeMetricFamily("driftline_store_up", "whether the store answers", 0)


@serves(router, endpoints.LIVEZ)
async def livez() -> Alive:
    return {"status": "alive"}


@serves(router, endpoints.READYZ)
async def readyz(services: Has) -> Ready:
    services.check_background()
    failures = services.version_watcher.swap_failures()
    of_models: list[AlarmState] = [
        {"kind": SWAP_FAILED, "message": why, "state": "standing", "model": name} for name, why in failures.items()
    ]
    try:
        await services.catalog.names()
    except Unavailable:
        if not services.version_watcher.is_ready:
            raise
        return {"status": "ready", "store": "unavailable", "alarms": of_models}
    state = await services.connection.server.state()
    alarms: list[AlarmState] = [
        {"kind": kind, "message": message, "state": "standing"} for kind, message in state.alarms.items()
    ]
    return {"status": "ready", "store": "available", "alarms": [*alarms, *of_models]}


@serves(router, endpoints.LIST_WORKERS)
async def workers(services: Has) -> WorkerList:
    names = await services.catalog.names()
    owners = await services.catalog.owners(list(names.values()))
    heartbeats = await services.workers.read()
    return worker_list(heartbeats, names, owners, services.connection.now(), services.settings.hung_seconds)


@serves(router, endpoints.PROMETHEUS)
async def prometheus(services: Has) -> Response:
    services.sample()
    try:
        models = await services.catalog.models()
    except Unavailable:
        models = None
    names = None if models is None else {model.name for model in models}
    registry = CollectorRegistry()
    registry.register(_Collected([*services.metrics.collect(names), *await _learned(services, models)]))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Collected:
    def __init__(self, families: list[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        return self.families


async def _learned(services: Services, models: list[CatalogEntry] | None) -> list[Metric]:
    """The series of learning, read from the store; only ``driftline_store_up`` 0 where it does not answer."""
    if models is None:
        return [STORE_DOWN]
    learned = CounterMetricFamily("driftline_learned", "labels learned", labels=["model"])
    waiting = GaugeMetricFamily("driftline_waiting", "labels waiting to be learned", labels=["model"])
    fullness = GaugeMetricFamily("driftline_log_fullness", "share of the log's cap that waits", labels=["model"])
    lag = GaugeMetricFamily("driftline_lag_seconds", "age of the oldest waiting label", labels=["model"])
    version = GaugeMetricFamily("driftline_version", "live version", labels=["model"])
    prequential = GaugeMetricFamily(
        "driftline_prequential", "score of the served answers, newest labels", labels=["model", "measure"]
    )
    alarms = GaugeMetricFamily("driftline_alarms", "current alarms", labels=["model"])
    try:
        for model in models:
            found = await model_metrics(services, model)
            learned.add_metric([model.name], model.head.learned)
            waiting.add_metric([model.name], model.waiting)
            lag.add_metric([model.name], found["lag"]["seconds"])
            fullness.add_metric([model.name], found["lag"]["fullness"])
            version.add_metric([model.name], model.head.version)
            alarms.add_metric([model.name], len(found["alarms"]))
            for metric, value in _numbers(found.get("prequential", {}).get("window", {})):
                prequential.add_metric([model.name, metric], value)
    except Unavailable:
        return [STORE_DOWN]
    return [
        GaugeMetricFamily("driftline_store_up", "whether the store answers", 1),
        *(learned, waiting, fullness, lag, version, prequential, alarms),
        *_of_server(await services.connection.server.state()),
    ]


def _of_server(state: RedisState) -> Iterable[Metric]:
    yield GaugeMetricFamily("driftline_store_memory_bytes", "memory that the store uses", state.used_bytes)
    yield GaugeMetricFamily("driftline_store_memory_limit_bytes", "memory that the store may use", state.room_bytes)
    alarms = GaugeMetricFamily("driftline_store_alarms", "current alarms about the store", labels=["kind"])
    for kind in state.alarms:
        alarms.add_metric([kind], 1)
    yield alarms


def _numbers(values: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    return ((name, value) for name, value in values.items() if isinstance(value, int | float))

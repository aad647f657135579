"""``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from driftline.errors import Unavailable
from driftline.store.redis_health import RedisState

from ..openapi import example
from ..services import Has, Services
from .models import model_metrics

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive", responses=example(200, {"status": "alive"}))
async def livez() -> dict[str, str]:
    return {"status": "alive"}


@router.get(
    "/readyz", summary="Can it answer", responses=example(200, {"status": "ready", "store": "available", "alarms": []})
)
async def readyz(services: Has) -> dict[str, Any]:
    """Ready once it has seen the store. Without the store it stays ready: predictions go on from the loaded versions.

    ``alarms`` say what is wrong with the store: it evicts, forgets, or its memory is nearly full.
    """
    try:
        await services.catalog.names()
    except Unavailable:
        if not services.version_watcher.is_ready:
            raise
        return {"status": "ready", "store": "unavailable", "alarms": []}
    state = await services.connection.server.state()
    alarms = [{"kind": kind, "message": message} for kind, message in state.alarms.items()]
    return {"status": "ready", "store": "available", "alarms": alarms}


@router.get("/metrics", summary="Prometheus", response_class=Response)
async def prometheus(services: Has) -> Response:
    """Everything that is measured, in Prometheus' text format; what serving processes count, added up over all of them."""
    services.measures.sample(services.engine, services.prediction_writer)
    learned = CollectorRegistry()
    learned.register(_Collected(await _learned(services)))
    text = generate_latest(services.measures.readable()) + generate_latest(learned)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


class _Collected:
    def __init__(self, families: list[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        return self.families


async def _learned(services: Services) -> list[Metric]:
    """What the store knows of learning; only ``driftline_store_up`` 0 where it does not answer."""
    learned = CounterMetricFamily("driftline_learned", "labels learned", labels=["model"])
    waiting = GaugeMetricFamily("driftline_waiting", "labels waiting to be learned", labels=["model"])
    fullness = GaugeMetricFamily("driftline_log_fullness", "share of the log's cap that waits", labels=["model"])
    lag = GaugeMetricFamily("driftline_lag_seconds", "age of the oldest waiting label", labels=["model"])
    version = GaugeMetricFamily("driftline_version", "live version", labels=["model"])
    prequential = GaugeMetricFamily(
        "driftline_prequential", "score of the served answers, newest labels", labels=["model", "measure"]
    )
    alarms = GaugeMetricFamily("driftline_alarms", "alarms that stand", labels=["model"])
    try:
        for model in await services.catalog.models():
            found = await model_metrics(services, model)
            learned.add_metric([model.name], model.head.learned)
            waiting.add_metric([model.name], model.waiting)
            lag.add_metric([model.name], found["lag"]["seconds"])
            fullness.add_metric([model.name], found["lag"]["fullness"])
            version.add_metric([model.name], model.head.version)
            alarms.add_metric([model.name], len(found["alarms"]))
            for measure, value in _numbers(found.get("prequential", {}).get("window", {})):
                prequential.add_metric([model.name, measure], value)
    except Unavailable:
        return [GaugeMetricFamily("driftline_store_up", "whether the store answers", 0)]
    return [
        GaugeMetricFamily("driftline_store_up", "whether the store answers", 1),
        *(learned, waiting, fullness, lag, version, prequential, alarms),
        *_of_server(await services.connection.server.state()),
    ]


def _of_server(state: RedisState) -> Iterable[Metric]:
    yield GaugeMetricFamily("driftline_store_memory_bytes", "memory that the store uses", state.used_bytes)
    yield GaugeMetricFamily("driftline_store_memory_limit_bytes", "memory that the store may use", state.room_bytes)
    alarms = GaugeMetricFamily("driftline_store_alarms", "alarms about the store that stand", labels=["kind"])
    for kind in state.alarms:
        alarms.add_metric([kind], 1)
    yield alarms


def _numbers(values: dict[str, Any]) -> Iterable[tuple[str, float]]:
    return ((name, value) for name, value in values.items() if isinstance(value, int | float))

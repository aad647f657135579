"""``/livez``, ``/readyz``, ``/metrics`` and ``/v1/workers``: none but the last one waits for the store."""

from __future__ import annotations

import asyncio

from fastapi import Response

from driftline.api import endpoints
from driftline.api.health import Alive, Ready, WorkerList
from driftline.api.metrics import AlarmState
from driftline.errors import Unavailable
from driftline.networks.kernels.compilation import compilation
from driftline.support.devices import missing_device

from ..exposition import exposition
from ..model_metrics import SWAP_FAILED
from ..services import Has
from ..store_health import access_of, store_alarms
from ..worker_states import worker_list
from .mount import json_router, serves

router = json_router()


@serves(router, endpoints.LIVEZ)
async def livez() -> Alive:
    return {"status": "alive"}


@serves(router, endpoints.READYZ)
async def readyz(services: Has) -> Ready:
    services.check_background()
    reason = missing_device(services.settings.device)
    if reason is not None:
        raise Unavailable(f"DRIFTLINE_DEVICE: {reason}", code="device_missing")
    sample, of_artifacts = await asyncio.gather(services.store_health.newest(), services.artifact_alarms())
    if sample is None:
        raise Unavailable("the store has not answered yet", code="not_ready", retry_after=1)
    access, error = access_of(sample), sample.value.error
    if not services.version_watcher.is_ready:
        message = compilation() or "the models are not known yet"
        raise (error if access != "available" else None) or Unavailable(message, code="not_ready", retry_after=1)
    failures = services.version_watcher.swap_failures()
    of_models: list[AlarmState] = [
        {"kind": SWAP_FAILED, "message": why, "state": "standing", "model": name} for name, why in failures.items()
    ]
    alarms = [*store_alarms(sample), *of_artifacts, *of_models]
    return {"status": "ready", "store": access, "age": round(sample.age, 3), "alarms": alarms}


@serves(router, endpoints.LIST_WORKERS)
async def workers(services: Has) -> WorkerList:
    names = await services.catalog.names()
    owners = await services.catalog.owners(list(names.values()))
    heartbeats = await services.workers.read()
    return worker_list(heartbeats, names, owners, services.connection.now(), services.settings.hung_seconds)


@serves(router, endpoints.PROMETHEUS)
async def prometheus(services: Has) -> Response:
    services.sample()
    counted, health, learned, artifacts = await asyncio.gather(
        services.counted.newest(),
        services.store_health.newest(),
        services.learned.newest(),
        services.artifact_alarms(),
    )
    text = await asyncio.to_thread(exposition, counted, health, learned, services.troubles, artifacts)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

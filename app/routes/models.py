"""``/v1/models``: create, list, show, delete; versions and metrics of one."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from driftline.errors import Conflict, InvalidInput
from driftline.ingest import rows
from driftline.learning.learner import Learner
from driftline.learning.retraining.recipe_changes import check_versions
from driftline.networks import bundle
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.store.catalog import CatalogEntry
from driftline.store.commits import Version
from driftline.store.redis_keys import new_uid
from driftline.store.watermarks import Cap
from driftline.support.failpoints import reach
from driftline.versions import VersionFiles

from ..fast_path import check_kind, read_body
from ..openapi import example
from ..services import Has, Services

router = APIRouter(prefix="/v1/models", tags=["models"])

SPEC = {"name": "weather", "task": "classification", "inputs": {"shape": [8]}, "classes": [0, 1]}
SHOWN = {"name": "weather", "version": 1, "learned": 0, "waiting": 0, "state": "idle", "created": 1.8e9, "spec": SPEC}


@router.post(
    "",
    status_code=201,
    summary="Create a model",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/ModelSpec"}, "example": SPEC},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "string", "description": "the spec, as JSON"},
                            "weights": {"type": "string", "format": "binary", "description": "a safetensors file"},
                        },
                        "required": ["spec", "weights"],
                    }
                },
            },
        }
    },
    responses=example(201, SHOWN),
)
async def create(request: Request, services: Has) -> dict[str, Any]:
    """Creates a model from a spec, with random weights or with yours. Version 1 answers at once."""
    spec, weights = await _parse(request)
    uid = new_uid()
    taken = await services.catalog.names()
    if spec.name in taken:
        raise Conflict(f"there is already a model {spec.name!r}", code="model_exists", field="name", value=spec.name)
    first = await asyncio.to_thread(_first_version, services, uid, spec, weights)
    reach("app.created")
    try:
        await services.catalog.create(uid, spec.model_dump(mode="json"), first)
    except Conflict:
        await asyncio.to_thread(services.artifacts.remove, uid)
        raise
    return await show(spec.name, services)


@router.get("", summary="List models", responses=example(200, {"models": [SHOWN]}))
async def list_models(services: Has) -> dict[str, Any]:
    """Every model, by name."""
    return {"models": [shown(model) for model in await services.catalog.models()]}


@router.get("/{model}", summary="Show a model", responses=example(200, SHOWN))
async def show(model: str, services: Has) -> dict[str, Any]:
    """The live version, how many labels are learned and waiting, the state and the spec.

    ``state`` is ``idle``, ``learning`` or ``paused``.
    """
    return shown(await services.catalog.get(model))


@router.delete("/{model}", summary="Delete a model", responses=example(200, {"deleted": "weather"}))
async def delete(model: str, services: Has) -> dict[str, Any]:
    """Removes a model with its log, its versions and all else that is kept of it."""
    uid = await services.catalog.delete(model)
    services.engine.drop(uid)
    await asyncio.to_thread(services.artifacts.remove, uid)
    return {"deleted": model}


@router.get(
    "/{model}/versions",
    summary="List versions",
    responses=example(
        200,
        {
            "model": "weather",
            "live": 2,
            "versions": [
                {"version": 1, "parent": None, "offset": 0, "created": 1.8e9, "reason": "created", "scores": {}},
                {"version": 2, "parent": 1, "offset": 32, "created": 1.8e9, "reason": "promoted: …", "scores": {}},
            ],
        },
    ),
)
async def versions(model: str, services: Has) -> dict[str, Any]:
    """Every kept version, oldest first, with the reason why it was promoted."""
    found = await services.catalog.get(model)
    kept = await services.commit_log(found.uid).versions()
    return {"model": model, "live": found.head.version, "versions": [_shown_version(version) for version in kept]}


@router.get(
    "/{model}/versions/{version}",
    summary="Show a version",
    responses=example(
        200,
        {
            "version": 2,
            "parent": 1,
            "offset": 32,
            "created": 1.8e9,
            "reason": "promoted: …",
            "scores": {},
            "report": None,
        },
    ),
)
async def show_version(model: str, version: int, services: Has) -> dict[str, Any]:
    """One kept version; ``report`` is that of the retrain job that it came of, else null."""
    found = await services.commit_log(await services.catalog.uid(model)).version(version)
    return {**_shown_version(found), "report": found.report}


@router.get(
    "/{model}/metrics",
    summary="Metrics of a model",
    responses=example(
        200,
        {
            "model": "weather",
            "version": 2,
            "prequential": {
                "accuracy": 0.93,
                "balanced_accuracy": 0.92,
                "kappa": 0.86,
                "log_loss": 0.21,
                "calibration_error": 0.03,
                "count": 480,
                "window": {
                    "accuracy": 0.95,
                    "count": 480,
                    "size": 1000,
                    "classes": [{"class": "rain", "support": 200, "recall": 0.94, "precision": 0.9}],
                },
                "fading": {"accuracy": 0.95, "count": 380.7, "factor": 0.999},
            },
            "forgetting": 0.01,
            "backward_transfer": 0.12,
            "lag": {"labels": 0, "seconds": 0.0, "bytes": 0, "fullness": 0.0},
            "alarms": [
                {
                    "kind": "drift",
                    "at": 455,
                    "message": "the error of what is served has risen (adwin), since record 401; most in 'rain'",
                    "since": 401,
                    "features": [],
                    "classes": [{"class": "rain", "labels": 30, "before": 0.05, "now": 0.6}],
                }
            ],
        },
    ),
)
async def metrics(model: str, services: Has) -> dict[str, Any]:
    """How well the served answers were, how far learning is behind, and what has raised an alarm."""
    return await model_metrics(services, await services.catalog.get(model))


async def model_metrics(services: Services, model: CatalogEntry) -> dict[str, Any]:
    """What the learner measures of a model, with its lag and alarms."""
    learner, alarms, backlog = await services.catalog.measured(model)
    cap = Cap.of(services.settings)
    kinds = {alarm["kind"] for alarm in alarms}
    standing = [{"kind": kind, "message": why} for kind, why in backlog.alarms(cap).items() if kind not in kinds]
    return {
        "model": model.name,
        "version": model.head.version,
        "learned": model.head.learned,
        **learner,
        "lag": {
            "labels": model.waiting,
            "seconds": round(backlog.seconds, 3),
            "bytes": backlog.bytes,
            "fullness": round(backlog.fullness(cap), 3),
        },
        "alarms": [*learner.get("alarms", []), *alarms, *standing],
    }


def shown(model: CatalogEntry) -> dict[str, Any]:
    """A model as the API shows it."""
    state = "paused" if model.paused else "learning" if model.waiting else "idle"
    return {
        "name": model.name,
        "version": model.head.version,
        "learned": model.head.learned,
        "waiting": model.waiting,
        "state": state,
        "created": model.created,
        "spec": model.spec,
    }


def _shown_version(version: Version) -> dict[str, Any]:
    shown = msgspec.to_builtins(version)
    return {"scores": {}, **{name: value for name, value in shown.items() if name not in ("manifest", "report")}}


async def _parse(request: Request) -> tuple[ModelSpec, bytes | None]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        check_kind(dict(request.scope["headers"]), b"application/json")
        return parse(ModelSpec, _json(await read_body(request.receive))), None
    async with request.form(max_files=1, max_fields=2) as form:
        spec, weights = form.get("spec"), form.get("weights")
        if spec is None or not isinstance(weights, UploadFile):
            raise InvalidInput('a multipart body has the parts "spec" and "weights" (a file)', field="body")
        text = await spec.read() if isinstance(spec, UploadFile) else spec
        return parse(ModelSpec, _json(text)), await weights.read()


def _json(text: bytes | str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise rows.malformed(error) from None


def _first_version(services: Services, uid: str, spec: ModelSpec, weights: bytes | None) -> Version:
    tensors = bundle.weights_from_bytes(weights) if weights is not None else None
    check_versions(spec.recipe.model_dump(), ())
    learner = Learner.create(spec, seed=int(uid, 16), weights=tensors, factories=services.settings.factories)
    model = Model(learner.spec, learner.classes, learner.module)
    return VersionFiles(services.artifacts, uid).write_first(model)

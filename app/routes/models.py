"""``/v1/models``: create, list, show, delete; versions and metrics of one."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from driftline.api import endpoints
from driftline.api.metrics import ModelMetricsAnswer
from driftline.api.models import Deleted, ModelList, ModelState, VersionDetails, VersionList, VersionState
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
from driftline.support.failpoints import reach
from driftline.versions import VersionFiles

from ..fast_path import check_kind, read_body
from ..services import Actor, Has, Services
from .mount import serves

router = APIRouter()


@serves(router, endpoints.CREATE_MODEL)
async def create(request: Request, services: Has, actor: Actor) -> ModelState:
    spec, weights = await _parse(request)
    uid = new_uid()
    taken = await services.catalog.names()
    if spec.name in taken:
        raise Conflict(f"there is already a model {spec.name!r}", code="model_exists", field="name", value=spec.name)
    first = await asyncio.to_thread(_first_version, services, uid, spec, weights)
    reach("app.created")
    try:
        await services.catalog.create(uid, spec.model_dump(mode="json"), first, actor)
    except Conflict:
        await asyncio.to_thread(services.artifacts.remove, uid)
        raise
    return await show(spec.name, services)


@serves(router, endpoints.LIST_MODELS)
async def list_models(services: Has) -> ModelList:
    return {"models": [shown(services, model) for model in await services.catalog.models()]}


@serves(router, endpoints.SHOW_MODEL)
async def show(model: str, services: Has) -> ModelState:
    return shown(services, await services.catalog.get(model))


@serves(router, endpoints.DELETE_MODEL)
async def delete(model: str, services: Has, actor: Actor) -> Deleted:
    uid = await services.catalog.delete(model, actor)
    services.version_watcher.forget(uid)
    await asyncio.to_thread(services.artifacts.remove, uid)
    return {"deleted": model}


@serves(router, endpoints.LIST_VERSIONS)
async def versions(model: str, services: Has) -> VersionList:
    found = await services.catalog.get(model)
    versions = await services.commit_log(found.uid).versions()
    return {"model": model, "live": found.head.version, "versions": [_shown_version(version) for version in versions]}


@serves(router, endpoints.SHOW_VERSION)
async def show_version(model: str, version: int, services: Has) -> VersionDetails:
    found = await services.commit_log(await services.catalog.uid(model)).version(version)
    return {**_shown_version(found), "report": found.report}


@serves(router, endpoints.SHOW_METRICS)
async def metrics(model: str, services: Has) -> ModelMetricsAnswer:
    (found,) = await services.measured([await services.catalog.get(model)])
    return found


def shown(services: Services, model: CatalogEntry) -> ModelState:
    """A model as the API shows it."""
    failure = services.version_watcher.swap_failure(model.uid)
    found: ModelState = {
        "name": model.name,
        "version": model.head.version,
        "learned": model.head.learned,
        "waiting": model.waiting,
        "state": "paused" if model.paused else "learning" if model.waiting else "idle",
        "created": model.created,
        "spec": model.spec,
    }
    if failure is not None:
        found["swap_failure"] = failure
    return found


def _shown_version(version: Version) -> VersionState:
    return {
        "scores": version.scores,
        "version": version.version,
        "parent": version.parent,
        "step": version.step,
        "offset": version.offset,
        "created": version.created,
        "reason": version.reason,
    }


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
        raise rows.malformed(error, text) from None


def _first_version(services: Services, uid: str, spec: ModelSpec, weights: bytes | None) -> Version:
    tensors = bundle.weights_from_bytes(weights) if weights is not None else None
    check_versions(spec.recipe.model_dump(), ())
    learner = Learner.create(spec, seed=int(uid, 16), weights=tensors, factories=services.settings.factories)
    model = Model(learner.spec, learner.classes, learner.module)
    return VersionFiles(services.artifacts, uid).write_first(model)

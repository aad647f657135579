"""``/v1/models``: create, list, show, delete; versions and metrics of one."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

from fastapi import Request

from driftline.api import endpoints
from driftline.api.metrics import ModelMetricsAnswer
from driftline.api.models import AdapterFiles, Deleted, ModelList, ModelState, VersionDetails, VersionList, VersionState
from driftline.errors import Conflict, Forbidden, InvalidInput
from driftline.ingest import rows
from driftline.learning.learner import Learner
from driftline.learning.network_trial import check_answers, check_network
from driftline.learning.retraining.recipe_changes import check_versions
from driftline.networks import bundle, peft_format
from driftline.networks.compilation import check_compiler
from driftline.networks.model import Model
from driftline.networks.price import OVER_BUDGET, ModelPrice, state_bytes
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec
from driftline.spec.based import BasedSpec
from driftline.store.catalog import CatalogEntry
from driftline.store.commits import Version
from driftline.store.redis_keys import new_uid
from driftline.support.failpoints import reach
from driftline.support.memory import give_back
from driftline.versions import VersionFiles

from ..based_models import Beginning, beginning, check_unused
from ..gatekeeper import caller_of
from ..model_form import model_form
from ..network_code import network_code
from ..services import Actor, Has, Sees, Services
from ..shared_budget import reserve
from .mount import json_router, serves

router = json_router()


@serves(router, endpoints.CREATE_MODEL)
async def create(request: Request, services: Has, actor: Actor, sees: Sees) -> ModelState:
    uid = new_uid()
    async with model_form(request) as (asked, weights, example):
        if not sees.allows(asked.name):
            raise Forbidden(f"this key is not for {asked.name}", code="wrong_model", field="name", value=asked.name)
        names = await services.catalog.names()
        if asked.name in names:
            raise Conflict(
                f"there is already a model {asked.name!r}", code="model_exists", field="name", value=asked.name
            )
        most = services.settings.max_models
        if 0 <= most <= len(names):
            message = f"there are {len(names)} models, and {most} is the most here (DRIFTLINE_MAX_MODELS)"
            raise InvalidInput(
                message, code=OVER_BUDGET, field="name", price={"models": len(names) + 1}, budget={"models": most}
            )
        adapter = weights if isinstance(asked, BasedSpec) else None
        begun = await beginning(services, asked, sees, adapter)
        weights = weights if adapter is None else None
        spec = begun.spec
        rows.check_tokenizers(spec)
        if spec.device is None and services.settings.device != "cpu":
            # It learns where it is served, also once the operator has set another device.
            spec = spec.changed(device=services.settings.device)
        built = await asyncio.to_thread(_built, services, uid, spec, begun, weights, example)
        await services.catalog.mark_unnamed(uid)
        await reserve(services, uid, state_bytes(built.module), caller_of(request.scope))
        first = await asyncio.to_thread(_first_version, services, uid, begun, built)
        del begun, built
        give_back()
    reach("app.created")
    try:
        await services.catalog.create(uid, spec.model_dump(mode="json"), first, actor)
    except Conflict:
        await asyncio.to_thread(services.artifacts.remove, uid)
        raise
    return await show(spec.name, services)


@serves(router, endpoints.LIST_MODELS)
async def list_models(services: Has, sees: Sees) -> ModelList:
    found = await services.catalog.models()
    return {"models": [shown(services, model) for model in found if sees.allows(model.name)]}


@serves(router, endpoints.SHOW_MODEL)
async def show(model: str, services: Has) -> ModelState:
    return shown(services, await services.catalog.get(model))


@serves(router, endpoints.DELETE_MODEL)
async def delete(model: str, services: Has, actor: Actor, sees: Sees) -> Deleted:
    check_unused(model, await services.catalog.models(), sees)
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


@serves(router, endpoints.EXPORT_ADAPTER)
async def export_adapter(model: str, version: int, services: Has) -> AdapterFiles:
    uid = await services.catalog.uid(model)
    found = await services.commit_log(uid).version(version)
    return await asyncio.to_thread(_adapter_of, services, uid, found.manifest)


@serves(router, endpoints.SHOW_METRICS)
async def metrics(model: str, services: Has) -> ModelMetricsAnswer:
    (found,) = await services.measured([await services.catalog.get(model)])
    return found


def _adapter_of(services: Services, uid: str, digest: str) -> AdapterFiles:
    with network_code("the network of the version"):
        restored = VersionFiles(services.artifacts, uid).restored(digest, services.settings.factories)
    config, tensors = peft_format.exported(restored.module)
    return {"config": config, "weights": base64.b64encode(bundle.weights_to_bytes(tensors)).decode()}


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


def _built(
    services: Services, uid: str, spec: ModelSpec, begun: Beginning, weights: Path | None, example: Rows | None
) -> Model:
    factories = services.settings.factories
    tensors = bundle.weights_of_file(weights) if weights is not None else None
    services.budget.check_spec(spec, spec.known_classes())
    if spec.compile:
        check_compiler()
    if tensors is not None:
        services.budget.check(ModelPrice(tensors=len(tensors)), "weights")
    check_versions(spec.recipe.model_dump(), ())
    learner = Learner.create(spec, seed=int(uid, 16), weights=tensors, begins_with=begun.tensors, factories=factories)
    model = Model(learner.spec, learner.classes, learner.module)
    services.budget.check_module(model.module)
    check_network(model, factories, example)
    if weights is not None:
        check_answers(model)
    return model


def _first_version(services: Services, uid: str, begun: Beginning, model: Model) -> Version:
    services.artifacts.share(uid, begun.uid, begun.blobs)
    return VersionFiles(services.artifacts, uid).write_first(model)

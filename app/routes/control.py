"""What an admin tells a model: every call appends a command to its log, and the worker carries it out."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field

from driftline.errors import InvalidInput, NotFound
from driftline.learning.retraining.dry_run import dry_run
from driftline.learning.retraining.plan import RetrainPlan, check_retrain
from driftline.learning.retraining.recipe_changes import check_recipe, named_versions
from driftline.networks.model import Model
from driftline.records import Command, CommandKind
from driftline.spec import ModelSpec, parse
from driftline.store.catalog import CatalogEntry
from driftline.store.commits import JobRecord
from driftline.versions import VersionFiles

from ..openapi import example
from ..services import Has, Services

router = APIRouter(prefix="/v1", tags=["control"])

_SIZE = {"layers": [], "parameters": 9610, "trained": 9610, "bytes": 38440, "flops": 18944}
PREVIEW = {
    "before": _SIZE,
    "after": _SIZE | {"parameters": 18954},
    "keeps_function": True,
    "training": {"examples": 480, "updates": 24, "flops": 87293952},
}
JOB = {"job_id": "4be0c1-1f"}
QUEUED = example(202, {"command": 481})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Retrain(_Strict):
    """A retrain job: another recipe, edits of the network, a race, and how often to go through the kept examples."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"recipe": {"optimizer": {"name": "sgd", "learning_rate": 0.05}}, "epochs": 3},
                {"race": [{}, {"loss": "focal"}, {"optimizer": {"name": "sgd", "learning_rate": 0.05}}]},
            ]
        },
    )

    recipe: dict[str, Any] = Field({}, description="merged over the model's recipe")
    edits: list[dict[str, Any]] = Field([], max_length=100)
    race: list[Any] = Field(
        [],
        min_length=2,
        max_length=16,
        description="recipes to compare, each merged over `recipe`: the best one is gone on with. "
        'Plain changes, or `{"recipe": {…}, "edits": […]}`',
        json_schema_extra={"items": {"type": "object"}},
    )
    epochs: int = Field(3, ge=1, le=1000)
    reason: str = Field("", max_length=1000)
    dry_run: bool = Field(False, description="say what it would give and cost, and begin nothing")


class Compare(_Strict):
    """Which two kept versions stand side by side; differences are the second's less the first's."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"versions": [12, 17]}]})

    versions: list[Annotated[int, Field(ge=1)]] = Field(min_length=2, max_length=2)


class Rollback(_Strict):
    """Which version to return to."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 3}]})

    version: int = Field(ge=1)


@router.post(
    "/models/{model}/retrain",
    status_code=202,
    summary="Retrain",
    responses=example(202, JOB) | example(200, PREVIEW),
)
async def retrain(model: str, body: Retrain, services: Has, response: Response) -> dict[str, Any]:
    """Trains a copy of the learner on the kept examples, beside the stream; promoted only if the gate lets it pass.

    With ``race`` several recipes are trained on the same examples, the better ones for longer; the best goes on.
    With ``dry_run`` it answers 200 with the structure, size and cost before and after, and begins nothing.
    """
    found, factories = await services.catalog.get(model), services.settings.factories
    version_files = VersionFiles(services.artifacts, found.uid)
    before = await asyncio.to_thread(_live, version_files, found, factories)
    retrain_plan = RetrainPlan.of(before.spec, body.recipe, body.edits, body.race)
    versions = await version_files.weights_of(services.commit_log(found.uid), retrain_plan.versions)
    if body.dry_run:
        response.status_code = 200
        learned, memory, log_keep = found.head.learned, before.spec.recipe.memory.size, services.settings.log_keep
        # A label may be in memory and in the log that is kept: a job goes through it twice.
        examples = min(learned, memory) + min(learned, log_keep)
        return await asyncio.to_thread(dry_run, before, retrain_plan, body.epochs, examples, factories, versions)
    await asyncio.to_thread(check_retrain, before, retrain_plan, factories, versions)
    return await _begin(services, found.uid, "retrain", body.model_dump(exclude={"dry_run"}))


def _live(version_files: VersionFiles, model: CatalogEntry, factories: Collection[str]) -> Model:
    """The live version, with the recipe that the model now learns by."""
    live = version_files.restored(model.head.manifest, factories)
    return dataclasses.replace(live, spec=live.spec.changed(recipe=parse(ModelSpec, model.spec).recipe))


@router.post("/models/{model}/compare", status_code=202, summary="Compare two versions", responses=example(202, JOB))
async def compare(model: str, body: Compare, services: Has) -> dict[str, Any]:
    """Measures two kept versions on what is held out and on the latest labels, and changes nothing.

    The job's report has ``versions``, what each measures, and ``differences``, with those that are ``beyond_chance``.
    """
    uid = await services.catalog.uid(model)
    first, second = body.versions
    if first == second:
        message = f"versions: two different ones are compared, not {first} with itself"
        raise InvalidInput(message, field="versions", value=body.versions)
    for version in body.versions:
        await services.commit_log(uid).version(version)
    return await _begin(services, uid, "compare", body.model_dump())


@router.get(
    "/jobs/{job}",
    summary="Show a job",
    responses=example(200, {"id": "4be0c1-1f", "state": "succeeded", "progress": 1.0, "promoted": True, "version": 7}),
)
async def show_job(job: str, services: Has) -> dict[str, Any]:
    """``state`` is ``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``; ``progress`` goes from 0 to 1."""
    _, found = await _job(services, job)
    return {
        "id": found.id,
        "state": found.state,
        "progress": found.progress,
        "promoted": found.promoted,
        "version": found.version,
        "report": found.report,
    }


@router.delete("/jobs/{job}", status_code=202, summary="Cancel a job", responses=QUEUED)
async def cancel_job(job: str, services: Has) -> dict[str, Any]:
    """Ends a job that waits or runs; the model stays as it is."""
    uid, _ = await _job(services, job)
    return await _tell(services, uid, "cancel", {"job": job})


@router.post("/models/{model}/rollback", status_code=202, summary="Roll back", responses=QUEUED)
async def rollback(model: str, body: Rollback, services: Has) -> dict[str, Any]:
    """Publishes a new version with the weights of an old one; learning goes on from them."""
    uid = await services.catalog.uid(model)
    await services.commit_log(uid).version(body.version)
    return await _tell(services, uid, "rollback", {"version": body.version})


@router.post("/models/{model}/promote", status_code=202, summary="Promote", responses=QUEUED)
async def promote(model: str, services: Has) -> dict[str, Any]:
    """Makes what has been learned the live version, whatever the gate says: how a model with a manual gate moves on."""
    return await _tell(services, await services.catalog.uid(model), "promote", {})


@router.post("/models/{model}/pause", status_code=202, summary="Pause learning", responses=QUEUED)
async def pause(model: str, services: Has) -> dict[str, Any]:
    """Stops learning; labels are still taken, and wait. Predictions go on."""
    return await _tell(services, await services.catalog.uid(model), "pause", {})


@router.post("/models/{model}/resume", status_code=202, summary="Resume learning", responses=QUEUED)
async def resume(model: str, services: Has) -> dict[str, Any]:
    """Learns on, from where it stopped."""
    return await _tell(services, await services.catalog.uid(model), "resume", {})


@router.patch("/models/{model}/recipe", status_code=202, summary="Change the recipe", responses=QUEUED)
async def change_recipe(
    model: str,
    body: Annotated[dict[str, Any], Body(examples=[{"optimizer": {"learning_rate": 0.0003}}])],
    services: Has,
) -> dict[str, Any]:
    """Merges changes over the recipe; the next step learns by it."""
    if not body:
        raise InvalidInput("body: there is no change", field="body", value=body)
    snapshot = (await services.version_watcher.model(model)).snapshot
    current = parse(ModelSpec, (await services.catalog.get(model)).spec)
    check_recipe(current, snapshot.classes, body, services.settings.factories)
    for version in named_versions(body):
        await services.commit_log(snapshot.uid).version(version)
    return await _tell(services, snapshot.uid, "recipe", {"recipe": body})


async def _tell(
    services: Services, uid: str, kind: CommandKind, arguments: dict[str, Any], identifier: str | None = None
) -> dict[str, Any]:
    command = Command(identifier or f"c:{secrets.token_hex(8)}", kind, arguments)
    (receipt,) = await services.log(uid).append([command])
    return {"command": receipt.n}


async def _begin(services: Services, uid: str, kind: CommandKind, arguments: dict[str, Any]) -> dict[str, Any]:
    """Tells a command that is a job, under an id which begins with the model's uid."""
    job = f"{uid}-{secrets.token_hex(6)}"
    await _tell(services, uid, kind, arguments, job)
    return {"job_id": job}


async def _job(services: Services, identifier: str) -> tuple[str, JobRecord]:
    uid = identifier.partition("-")[0]
    job = await services.commit_log(uid).job(identifier)
    if job is None and await services.log(uid).find(identifier) is not None:
        job = JobRecord(identifier, "queued")
    if job is None:
        raise NotFound(f"there is no job {identifier!r}", code="unknown_job", field="job", value=identifier)
    return uid, job

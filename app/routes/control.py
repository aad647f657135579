"""Admin commands: every call appends a command to the model's log, and the worker carries it out."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import secrets
from collections.abc import Collection
from typing import Annotated, Any, NamedTuple, cast

from fastapi import Body, Depends, Header, Query, Request, Response

from driftline.api import endpoints
from driftline.api.control import (
    CommandQueued,
    Compare,
    Forget,
    ForgetPreview,
    JobBegun,
    JobState,
    Reason,
    Retrain,
    RetrainPreview,
    Rollback,
)
from driftline.errors import Conflict, InvalidInput, NotFound
from driftline.learning.retraining.dry_run import dry_run
from driftline.learning.retraining.plan import RetrainPlan, check_retrain
from driftline.learning.retraining.recipe_changes import check_recipe, named_versions
from driftline.networks.model import Model
from driftline.networks.price import state_bytes
from driftline.records import Command, CommandKind
from driftline.spec import ModelSpec, parse
from driftline.store.catalog import CatalogEntry, by_uid
from driftline.store.checkpoints import places_before
from driftline.store.commits import JobRecord
from driftline.store.erasure import Erasure, facts_of
from driftline.store.selection import Selection, find
from driftline.versions import VersionFiles

from ..gatekeeper import caller_of
from ..services import Actor, Has, Sees, Services, Sight
from ..shared_budget import reserve
from .mount import json_router, serves

router = json_router()


class CommandIssuer(NamedTuple):
    """Who tells a model something, the ``Idempotency-Key`` of the call: with the same one it is told once; and whom it is
    charged to."""

    actor: str
    key: str | None
    charged: str


def _caller(
    request: Request,
    actor: Actor,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> CommandIssuer:
    return CommandIssuer(actor, idempotency_key, caller_of(request.scope))


By = Annotated[CommandIssuer, Depends(_caller)]


@serves(router, endpoints.RETRAIN)
async def retrain(
    model: str, body: Retrain, services: Has, caller: By, response: Response
) -> JobBegun | RetrainPreview:
    found, factories = await services.catalog.get(model), services.settings.factories
    told, asked = Told(services, found.uid, caller, body.reason), body.model_dump(exclude={"dry_run", "reason"})
    if not body.dry_run and await told.is_resend():
        return await told.begin("retrain", asked)
    told.charge()
    version_files = VersionFiles(services.artifacts, found.uid)
    before = await asyncio.to_thread(_live, version_files, found, factories)
    retrain_plan = RetrainPlan.of(before.spec, body.recipe, body.edits, body.race)
    versions = await version_files.weights_of(services.commit_log(found.uid), retrain_plan.versions)
    if body.dry_run:
        response.status_code = 200
        learned, memory, log_keep = found.head.learned, before.spec.recipe.memory.size, services.settings.log_keep
        # A label may be both in memory and in the log: a job then learns it twice.
        examples = min(learned, memory) + min(learned, log_keep)
        found_out = await asyncio.to_thread(
            dry_run, before, retrain_plan, body.epochs, examples, factories, versions, services.budget
        )
        size = max(each["bytes"] for each in found_out.get("race", [found_out["after"]]))
        await reserve(services, found.uid, size, only_asks=True)
        return cast(RetrainPreview, found_out)
    size = await asyncio.to_thread(check_retrain, before, retrain_plan, factories, versions, services.budget)
    await reserve(services, found.uid, max(size, state_bytes(before.module)))
    return await told.begin("retrain", asked)


def _live(version_files: VersionFiles, model: CatalogEntry, factories: Collection[str]) -> Model:
    """The live version, with the recipe that is now in use."""
    live = version_files.restored(model.head.manifest, factories)
    return dataclasses.replace(live, spec=live.spec.changed(recipe=parse(ModelSpec, model.spec).recipe))


@serves(router, endpoints.COMPARE)
async def compare(model: str, body: Compare, services: Has, caller: By) -> JobBegun:
    uid = await services.catalog.uid(model)
    first, second = body.versions
    if first == second:
        message = f"versions: two different ones are compared, not {first} with itself"
        raise InvalidInput(message, field="versions", value=body.versions)
    told = Told(services, uid, caller, body.reason)
    if not await told.is_resend():
        told.charge()
        for version in body.versions:
            await services.commit_log(uid).version(version)
    return await told.begin("compare", body.model_dump(exclude={"reason"}))


@serves(router, endpoints.FORGET)
async def forget(model: str, body: Forget, services: Has, caller: By, response: Response) -> JobBegun | ForgetPreview:
    asked = body.model_dump(exclude={"dry_run", "reason"})
    if not any(value is not None and value != [] for value in asked.values()):
        raise InvalidInput('say what is to be forgotten: "keys", "ids", "source", "since" or "until"', field="keys")
    uid = await services.catalog.uid(model)
    told = Told(services, uid, caller, body.reason)
    if not body.dry_run and await told.is_resend():
        return await told.begin("forget", asked)
    told.charge()
    if body.dry_run:
        response.status_code = 200
        return await _would_forget(services, uid, Selection.of(asked))
    return await told.begin("forget", asked)


async def _would_forget(services: Services, uid: str, selection: Selection) -> ForgetPreview:
    log, commit_log = services.log(uid), services.commit_log(uid)
    head = await commit_log.head()
    records = await find(log, selection, await log.newest() + 1, head.offset)
    predicted = facts_of(await Erasure(services.connection, uid, 0).predicted(records))
    is_learned = records.first <= head.offset
    places = await places_before(log, head, records.first) if is_learned else []
    oldest = await log.since(1, 1)
    nearest = places[0] if places else None
    begun_at = nearest.offset if nearest is not None else oldest[0].n - 1 if oldest else head.offset
    return {
        "labels": records.labels,
        "learned": records.learned,
        "predictions": len(predicted),
        "relearned": head.offset - begun_at if is_learned else 0,
        "unlearned": bool(places) or not is_learned,
        "versions": [each.version for each in await commit_log.versions() if each.offset >= records.first],
        "unknown": selection.unknown({*records.known, *predicted}),
    }


@serves(router, endpoints.SHOW_JOB)
async def show_job(job: str, services: Has, sees: Sees) -> JobState:
    _, found = await _job(services, job, sees)
    shown: JobState = {
        "id": found.id,
        "state": cast(Any, found.state),
        "progress": found.progress,
        "promoted": found.promoted,
        "version": found.version,
        "report": found.report,
    }
    if found.asked_by:  # A former release did not know.
        shown |= {"reason": found.reason, "asked_by": found.asked_by}
    return shown


@serves(router, endpoints.CANCEL_JOB)
async def cancel_job(job: str, services: Has, caller: By, sees: Sees) -> CommandQueued:
    uid, _ = await _job(services, job, sees)
    return await Told(services, uid, caller).tell("cancel", {"job": job})


@serves(router, endpoints.ROLL_BACK)
async def rollback(model: str, body: Rollback, services: Has, caller: By) -> CommandQueued:
    uid = await services.catalog.uid(model)
    told = Told(services, uid, caller, body.reason)
    if not await told.is_resend():
        await services.commit_log(uid).version(body.version)
    return await told.tell("rollback", {"version": body.version})


@serves(router, endpoints.PROMOTE)
async def promote(model: str, services: Has, caller: By, body: Reason | None = None) -> CommandQueued:
    return await Told(services, await services.catalog.uid(model), caller, _reason(body)).tell("promote", {})


@serves(router, endpoints.PAUSE)
async def pause(model: str, services: Has, caller: By, body: Reason | None = None) -> CommandQueued:
    return await Told(services, await services.catalog.uid(model), caller, _reason(body)).tell("pause", {})


@serves(router, endpoints.RESUME)
async def resume(model: str, services: Has, caller: By, body: Reason | None = None) -> CommandQueued:
    return await Told(services, await services.catalog.uid(model), caller, _reason(body)).tell("resume", {})


@serves(router, endpoints.CHANGE_RECIPE)
async def change_recipe(
    model: str,
    body: Annotated[dict[str, Any], Body()],
    services: Has,
    caller: By,
    reason: Annotated[str, Query(max_length=1000)] = "",
) -> CommandQueued:
    if not body:
        raise InvalidInput("body: there is no change", field="body", value=body)
    snapshot = (await services.version_watcher.model(model)).snapshot
    current = parse(ModelSpec, (await services.catalog.get(model)).spec)
    told = Told(services, snapshot.uid, caller, reason)
    if not await told.is_resend():
        check_recipe(current, snapshot.classes, body, services.settings.factories)
        for version in named_versions(body):
            await services.commit_log(snapshot.uid).version(version)
    return await told.tell("recipe", {"recipe": body})


def _reason(body: Reason | None) -> str:
    return "" if body is None else body.reason


@dataclasses.dataclass(frozen=True)
class Told:
    """What an admin tells the model ``uid``: who, and why."""

    services: Services
    uid: str
    caller: CommandIssuer
    reason: str = ""

    async def is_resend(self) -> bool:
        """Whether this call has come before: what it asks was right then, and may have been done since."""
        log = self.services.log(self.uid)
        return self.caller.key is not None and any(
            [await log.find(identifier) is not None for identifier in (self._command_id(), self._job_id())]
        )

    def charge(self) -> None:
        """Charges the caller for a job, or for what a dry run of one takes."""
        self.services.charges.take(self.caller.charged, "jobs", 1)

    async def tell(self, kind: CommandKind, arguments: dict[str, Any]) -> CommandQueued:
        """Appends a command to the model's log."""
        return {"command": await self._append(self._command_id(), kind, arguments)}

    async def begin(self, kind: CommandKind, arguments: dict[str, Any]) -> JobBegun:
        """Appends a command that is a job, with an id which begins with the model's uid."""
        job = self._job_id()
        await self._append(job, kind, arguments)
        return {"job_id": job}

    def _command_id(self) -> str:
        return f"c:{self._id(8)}"

    def _job_id(self) -> str:
        return f"{self.uid}-{self._id(6)}"

    def _id(self, size: int) -> str:
        """So many bytes: of the call's key, else random."""
        key = self.caller.key
        return secrets.token_hex(size) if key is None else hashlib.sha256(key.encode()).hexdigest()[: 2 * size]

    async def _append(self, identifier: str, kind: CommandKind, arguments: dict[str, Any]) -> int:
        command = Command(identifier, kind, arguments, self.caller.actor, self.reason)
        (receipt,) = await self.services.log(self.uid).append([command])
        if receipt.status == "conflict":
            message = "Idempotency-Key: another call was made with this key"
            raise Conflict(message, field="Idempotency-Key", value=self.caller.key)
        return receipt.n


async def _job(services: Services, identifier: str, sees: Sight) -> tuple[str, JobRecord]:
    uid = identifier.partition("-")[0]
    job = await services.commit_log(uid).job(identifier)
    if not sees.is_of_all and not sees.allows(by_uid(await services.catalog.names()).get(uid)):
        job = None
    elif job is None and (known := await services.log(uid).find(identifier)) is not None:
        entry = await services.log(uid).get(known.n)
        told = entry.record if entry is not None and isinstance(entry.record, Command) else Command(identifier, "")
        job = JobRecord(identifier, "queued", reason=told.reason, asked_by=told.actor)
    if job is None:
        raise NotFound(f"there is no job {identifier!r}", code="unknown_job", field="job", value=identifier)
    return uid, job

"""Whose labels a model learns; and what an admin decides about those that depart from the others."""

from __future__ import annotations

from driftline.api import endpoints
from driftline.api.control import CommandQueued
from driftline.api.labellers import LabellerList, LabellerName
from driftline.errors import NotFound
from driftline.records import CommandKind

from ..services import Has, Services
from .control import By, CommandIssuer, Told
from .mount import json_router, serves

router = json_router()


@serves(router, endpoints.LIST_LABELLERS)
async def list_labellers(model: str, services: Has) -> LabellerList:
    (measured,) = await services.measured([await services.catalog.get(model)])
    return {"labellers": measured.get("labellers", [])}


@serves(router, endpoints.RELEASE_LABELLER)
async def release_labeller(model: str, body: LabellerName, services: Has, caller: By) -> CommandQueued:
    return await _decide("release", model, body, services, caller)


@serves(router, endpoints.DROP_LABELLER)
async def drop_labeller(model: str, body: LabellerName, services: Has, caller: By) -> CommandQueued:
    return await _decide("drop", model, body, services, caller)


async def _decide(
    kind: CommandKind, model: str, body: LabellerName, services: Services, caller: CommandIssuer
) -> CommandQueued:
    uid = await services.catalog.uid(model)
    told = Told(services, uid, caller, body.reason)
    if not await told.is_resend():
        known = {each["name"] for each in (await list_labellers(model, services))["labellers"]}
        if body.labeller not in known:
            message = f"labeller: there is none of the name {body.labeller!r}"
            raise NotFound(message, code="unknown_labeller", field="labeller", value=body.labeller)
    return await told.tell(kind, {"labeller": body.labeller})

"""API keys: listed, made and revoked, each with an event that says by whom."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from driftline.api import endpoints
from driftline.api.keys import ApiKey, ApiKeyList, MadeApiKey, NewApiKey, Rotation
from driftline.api_keys import Key
from driftline.store.events import tell_key

from ..services import Actor, Has
from .mount import json_router, serves

router = json_router()


@serves(router, endpoints.LIST_KEYS)
async def list_keys(services: Has) -> ApiKeyList:
    return {"keys": [_shown(key) for key in services.keys.list()]}


@serves(router, endpoints.MAKE_KEY)
async def make_key(body: NewApiKey, services: Has, actor: Actor) -> MadeApiKey:
    token = await asyncio.to_thread(
        partial(
            services.keys.create,
            body.scopes,
            body.name,
            models=body.models,
            expires=body.expires,
            owner=body.owner,
            keeps_admin=True,
        )
    )
    await tell_key(services.connection, token.partition(".")[0], body.name, "made", actor)
    return {"key": token}


@serves(router, endpoints.ROTATE_KEY)
async def rotate_key(key: str, services: Has, actor: Actor, body: Rotation | None = None) -> MadeApiKey:
    token = await asyncio.to_thread(services.keys.rotate, key, body.grace_seconds if body is not None else 0.0)
    name = next((each.name for each in services.keys.list() if each.id == key), "")
    await tell_key(services.connection, key, name, "rotated", actor)
    return {"key": token}


@serves(router, endpoints.REVOKE_KEY)
async def revoke_key(key: str, services: Has, actor: Actor) -> ApiKey:
    revoked = await asyncio.to_thread(services.keys.revoke, key, keeps_admin=True)
    await tell_key(services.connection, revoked.id, revoked.name, "revoked", actor)
    return _shown(revoked)


def _shown(key: Key) -> ApiKey:
    created = datetime.fromisoformat(key.created).timestamp()
    about: ApiKey = {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created": created,
        "models": list(key.models),
        "expires": key.expires,
        "owner": key.owner,
    }
    return about

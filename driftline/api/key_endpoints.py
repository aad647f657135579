"""The calls about API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from driftline.api.endpoint import Endpoint, MediaType
from driftline.api.lazily import LazyModule
from driftline.api.scopes import ADMIN, AUDIT

if TYPE_CHECKING:
    from driftline.api import keys
else:
    keys = LazyModule("driftline.api.keys")

KEYS = "keys"
_KEY = {
    **{"id": "9f3c1a7e55d0", "name": "phone app", "scopes": ["predict", "feedback"], "created": 1.8e9},
    **{"models": ["weather", "team-a-*"], "expires": 1.9e9, "owner": "9f3c1a7e55d0"},
}

LIST_KEYS: Final = Endpoint(
    "GET",
    "/v1/keys",
    keys.ApiKeyList,
    "List API keys",
    KEYS,
    AUDIT,
    "Every key with its name, scopes and models, without its secret, which nobody knows.",
    {"keys": [_KEY]},
    client="keys",
)
MAKE_KEY: Final = Endpoint(
    "POST",
    "/v1/keys",
    keys.MadeApiKey,
    "Make an API key",
    KEYS,
    ADMIN,
    "The answer holds the key, this once. From the first key on, every call needs one; so the first one has to allow `admin`.",
    {"key": "9f3c1a7e55d0.SECRET"},
    201,
    bodies=(
        MediaType(keys.NewApiKey, {"scopes": ["predict", "feedback"], "name": "phone app", "models": ["team-a-*"]}),
    ),
    client="make_key",
)
ROTATE_KEY: Final = Endpoint(
    "POST",
    "/v1/keys/{key}/rotate",
    keys.MadeApiKey,
    "Give an API key a new secret",
    KEYS,
    ADMIN,
    "The answer holds the key, this once. It goes by the same id, and may do the same; the former secret works for "
    "`grace_seconds` more.",
    {"key": "9f3c1a7e55d0.SECRET"},
    bodies=(MediaType(keys.Rotation, {"grace_seconds": 3600}),),
    is_body_needed=False,
    client="rotate_key",
)
REVOKE_KEY: Final = Endpoint(
    "DELETE",
    "/v1/keys/{key}",
    keys.ApiKey,
    "Revoke an API key",
    KEYS,
    ADMIN,
    "It stops working at once. The last key that allows `admin` is not revoked this way: nobody could make another one.",
    _KEY,
    client="revoke_key",
)

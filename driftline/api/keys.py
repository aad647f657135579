"""API keys, as they are made, listed and revoked."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.message import Body, message
from driftline.api.scopes import Scope


@message
class ApiKey(TypedDict):
    """A key, without its secret."""

    id: str
    """The part of the key before the dot."""
    name: str
    """Whose it is."""
    scopes: list[Scope]
    """What it allows."""
    created: float
    """When it was made, in seconds since 1970."""
    models: list[str]
    """Names or patterns of the models that it is for; empty: all."""
    expires: float | None
    """Until when it works, in seconds since 1970; null: for good."""
    owner: str
    """Whose its predictions and labels are; empty: the instance's, as an admin's and those of keys of former releases."""


@message
class ApiKeyList(TypedDict):
    """Every key."""

    keys: list[ApiKey]
    """The keys, in the order in which they were made."""


class NewApiKey(Body):
    """A key to be made."""

    scopes: list[Scope] = Field(min_length=1)
    """What it is to allow."""
    name: str = Field("", max_length=200)
    """Whose it is: the actor of what is done with it."""
    models: list[str] = Field([], max_length=100)
    """Names of the models that it is for, or patterns such as ``team-a-*``; empty: all."""
    expires: float | None = None
    """Until when it works, in seconds since 1970; null: for good."""
    owner: str = Field("", max_length=64)
    """Whose its predictions and labels are to be; keys of one owner share them. By default its own alone, or an admin's the
    instance's."""


class Rotation(Body):
    """A new secret for a key."""

    grace_seconds: float = Field(0.0, ge=0, le=30 * 24 * 3600)
    """How long the former secret works too, in seconds."""


@message
class MadeApiKey(TypedDict):
    """A key that was made."""

    key: str
    """The whole key, ``ID.SECRET``, which is told this once: only a hash of it is kept."""

"""What an API key may be for."""

from __future__ import annotations

from typing import Literal, get_args

Scope = Literal["predict", "feedback", "weights", "metrics", "admin", "audit"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

ANYONE: frozenset[Scope] = frozenset()
READER: frozenset[Scope] = frozenset({"predict", "feedback", "metrics", "audit"})
ADMIN: frozenset[Scope] = frozenset({"admin"})
AUDIT: frozenset[Scope] = frozenset({"audit"})


def default_scopes(method: str) -> frozenset[Scope]:
    """Any one of these allows a call, unless its endpoint says otherwise: whoever has a key reads, an admin changes."""
    return READER if method == "GET" else ADMIN

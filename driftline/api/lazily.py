"""Types that are named before their modules are loaded: who asks for none of them loads none."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class TypeReference:
    """A name in a module that may not be loaded yet."""

    module: str
    name: str


@dataclass(frozen=True)
class LazyModule:
    """A module whose attributes are references until :func:`resolved` is asked for them."""

    name: str

    def __getattr__(self, name: str) -> TypeReference:
        return TypeReference(self.name, name)


def resolved(kind: Any) -> Any:
    """What a reference refers to; anything else is itself."""
    return getattr(import_module(kind.module), kind.name) if isinstance(kind, TypeReference) else kind

"""Driftline serves PyTorch models that keep learning in production."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from driftline.version import __version__

if TYPE_CHECKING:
    from driftline.client.clients import AsyncClient, Client
    from driftline.client.feedback import FeedbackRefused
    from driftline.client.handle import ModelHandle
    from driftline.errors import (
        Busy,
        ConfigurationError,
        Conflict,
        CorruptData,
        DriftlineError,
        Fenced,
        Forbidden,
        InvalidInput,
        Late,
        NotFound,
        ServerError,
        TooLarge,
        Unauthorized,
        Unavailable,
        UnsupportedMedia,
        UserCodeFailed,
    )


__all__ = [
    "AsyncClient",
    "Busy",
    "Client",
    "ConfigurationError",
    "Conflict",
    "CorruptData",
    "DriftlineError",
    "FeedbackRefused",
    "Fenced",
    "Forbidden",
    "InvalidInput",
    "Late",
    "ModelHandle",
    "NotFound",
    "ServerError",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMedia",
    "UserCodeFailed",
    "__version__",
]

_CLIENT = {
    "AsyncClient": "driftline.client.clients",
    "Client": "driftline.client.clients",
    "FeedbackRefused": "driftline.client.feedback",
    "ModelHandle": "driftline.client.handle",
}


def __getattr__(name: str) -> object:
    """Imports a name of ``__all__`` when it is first asked for: a process that needs no client loads no HTTP library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_CLIENT.get(name, "driftline.errors"))
    return globals().setdefault(name, getattr(module, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Functions of a user's own, as specs name them: ``package.module:function``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import Any

from driftline.errors import DriftlineError, InvalidInput


def imported(name: str) -> Callable[..., Any]:
    """The function of that name; its module may raise anything."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def allowed(name: str, factories: Collection[str], field: str) -> Callable[..., Any]:
    """The function that ``field`` names; :class:`InvalidInput` where the operator does not list it, or it is not to be had."""
    if name not in factories:
        message = f"{field}: {name!r} is not allowed here; the operator lists what is in DRIFTLINE_FACTORIES"
        raise InvalidInput(message, code="factory_not_allowed", field=field, value=name)
    try:
        return imported(name)
    except Exception as error:  # A user's own code may raise anything.
        raise failed(name, error, field) from error


def failed(name: str, error: Exception, field: str) -> InvalidInput:
    """What a function that ``field`` names has raised, by its last line."""
    return InvalidInput(f"{field}: {name} failed: {told(error)}", code="factory_failed", field=field, value=name)


def reason_of(error: Exception) -> str:
    """What a user is told of an error in training: ours by its message, one of their own code by its last line."""
    return error.message if isinstance(error, DriftlineError) else told(error)


def told(error: Exception) -> str:
    """What a user's own code has raised, as the last line of a traceback tells it."""
    return f"{type(error).__name__}: {last_line(error)}"


def last_line(error: Exception) -> str:
    """What an error says at its end."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]

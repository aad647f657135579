"""Code of a user's own: functions that specs name as ``package.module:function``, and networks that may raise anything."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from driftline.errors import DriftlineError, InvalidInput, UserCodeFailed

OUT_OF_MEMORY = ("can't allocate memory", "out of memory")
"""What torch says where memory is wanting, of the CPU and of a GPU."""


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Around code of a user's own, which may raise anything: :class:`UserCodeFailed` says ``what`` has failed, and how.

    An error of Driftline's own passes as it is.
    """
    try:
        yield
    except DriftlineError:
        raise
    except Exception as error:
        reason = told(error)
        raise UserCodeFailed(f"{what} failed: {reason}", what=what, reason=reason) from error


def imported(name: str) -> Callable[..., Any]:
    """The function of that name; its module may raise anything."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def allowed(name: str, factories: Collection[str], field: str) -> Callable[..., Any]:
    """The function that ``field`` names; :class:`InvalidInput` where the operator does not list it, or it does not import."""
    if name not in factories:
        message = f"{field}: {name!r} is not allowed here; the operator lists what is in DRIFTLINE_FACTORIES"
        raise InvalidInput(message, code="factory_not_allowed", field=field, value=name)
    with named_user_code(name, field):
        return imported(name)


@contextmanager
def named_user_code(name: str, field: str) -> Iterator[None]:
    """Around what the function that ``field`` of a spec names does: :class:`InvalidInput` says how it has failed."""
    try:
        with user_code(name):
            yield
    except UserCodeFailed as failed:
        message = f"{field}: {failed.message}"
        raise InvalidInput(message, code="factory_failed", field=field, value=name) from failed.__cause__


def reason_of(error: Exception) -> str:
    """What a user is told of an error in training: of one in their own code the first line, of ours the message."""
    if isinstance(error, UserCodeFailed):
        return error.reason
    return error.message if isinstance(error, DriftlineError) else told(error)


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it came of, is a want of memory: of Python's, or of torch's on any device."""
    while error is not None:
        is_torch = isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
        if is_torch or isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


def told(error: BaseException) -> str:
    """An error in one line: its type and what it says first."""
    return f"{type(error).__name__}: {first_line(error)}"


def first_line(error: BaseException) -> str:
    """What an error says first: below it torch has where that was raised. A line that ends in a colon goes on in the next."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    ends = (place for place, line in enumerate(lines, 1) if not line.endswith(":"))
    return " ".join(lines[: next(ends, len(lines))])

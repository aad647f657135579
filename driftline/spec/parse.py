"""From JSON to typed values, and from what does not fit to an error that names the field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from driftline.errors import InvalidInput

FUNCTION_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""How a spec names a function of a user's own: ``package.module:function``."""


class Frozen(BaseModel):
    """A value: no unknown fields, no change after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


T = TypeVar("T", bound=BaseModel)


def parse(kind: type[T], value: Any) -> T:
    """``value`` as a ``kind``; :class:`InvalidInput` that names the first field that does not fit, and its value."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise invalid(error, value) from None


def invalid(error: ValidationError, value: Any) -> InvalidInput:
    """A pydantic error over ``value`` in Driftline's words."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(_path(first["loc"], value, first["type"] == "missing"))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return InvalidInput(f"{field}: it is missing", field=field)
    if not field:
        return InvalidInput(message, field="")
    return InvalidInput(
        f"{field}: {message[:1].lower()}{message[1:]}, not {_short(first['input'])}", field=field, value=first["input"]
    )


def _path(location: tuple[int | str, ...], value: Any, is_missing: bool) -> Iterator[str]:
    """A location without the names that pydantic gives to the members of a union."""
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        if isinstance(value, list) and isinstance(part, int):
            value = value[part]
        elif isinstance(value, dict) and (part in value or (is_last and is_missing)):
            value = value.get(part)
        else:
            continue
        yield str(part)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"

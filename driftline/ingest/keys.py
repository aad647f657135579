"""Users' own names of rows, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from driftline.api.feedback import MAX_ID_LENGTH
from driftline.errors import InvalidInput
from driftline.rows.rows import KeyedRows, Rows

Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]


def are_keys(keys: Sequence[Any]) -> bool:
    """Whether each is the name of a row, or None for a row without one."""
    return all(key is None or (isinstance(key, str) and 0 < len(key) <= MAX_ID_LENGTH) for key in keys)


def with_keys(rows: Rows, keys: Sequence[str | None] | None) -> Rows:
    """The rows under their keys; :class:`InvalidInput` where there are more or fewer of these."""
    if keys is None:
        return rows
    if len(keys) != len(rows):
        raise InvalidInput(f"keys: {len(keys)} of them for {len(rows)} rows", field="keys", value=len(keys))
    return KeyedRows(rows.tensors, rows.records, rows.unknown, keys)


def keys_of(parameter: Any) -> list[str | None] | None:
    """The keys that a parameter of the Open Inference Protocol holds: a list, or one of a single row."""
    keys = [parameter] if isinstance(parameter, str) else parameter
    if keys is not None and not (isinstance(keys, list) and are_keys(keys)):
        raise InvalidInput(
            f"parameters.keys: not a list of texts of 1 to {MAX_ID_LENGTH} characters, one a row",
            field="parameters.keys",
            value=parameter,
        )
    return keys

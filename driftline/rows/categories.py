"""The keys of categories."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = 0
"""The key of a category that is missing."""
TEXTS = frozenset({str, type(None)})
MAX_KNOWN = 2**16
"""How many keys are kept."""

_known: dict[str | None, int] = {}


def category_keys(values: Sequence[Any]) -> list[int]:
    """The keys of categories, each a string, a number, a boolean, or None where it is missing.

    ``1``, ``1.0`` and ``"1"`` are one value: files and applications do not agree on which of them they write.
    """
    if not {*map(type, values)} <= TEXTS:
        values = [value if value is None or type(value) is str else _text(value) for value in values]
    keys = [*map(_known.get, values)]
    if None not in keys:
        return keys  # type: ignore[return-value]
    return [_learned(value) if key is None else key for value, key in zip(values, keys, strict=True)]


def known_keys(values: Sequence[Any]) -> NDArray[np.int64] | None:
    """What :func:`category_keys` gives, at once, where all are texts that have come before, or missing; None where not."""
    try:
        return np.fromiter(map(_known.get, values), np.int64, len(values))
    except TypeError:
        return None


def category_key(value: str) -> int:
    """The key of a category: 63 bits, not 0."""
    return int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "big") >> 1 or 1


def _learned(value: str | None) -> int:
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    key = _known[value] = MISSING if value is None else category_key(value)
    return key


def _text(value: float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)

"""Moments as seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

UNITS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
# From these sizes on a number since 1970 is in the unit: in the one before it, it would be after the year 5000.
FROM: Final = (("ns", 1e17), ("us", 1e14), ("ms", 1e11))

_SIZES = np.array([size for _, size in reversed(FROM)])
_SECONDS = np.array([UNITS["s"], *(UNITS[name] for name, _ in reversed(FROM))])


def from_number(value: float, unit: str) -> float:
    """Seconds since 1970 of a number in ``unit``; ``auto``: what its size says."""
    if unit == "auto":
        unit = next((name for name, size in FROM if abs(value) >= size), "s")
    return value * UNITS[unit]


def from_numbers(values: NDArray[np.float64], unit: str) -> NDArray[np.float64]:
    """What :func:`from_number` gives, of each of them."""
    if unit != "auto":
        return values * UNITS[unit]
    found: NDArray[np.float64] = values * _SECONDS[np.searchsorted(_SIZES, np.abs(values), side="right")]
    return found


def from_text(text: str, form: str | None) -> float:
    """Seconds since 1970 of a text: ISO 8601, or as ``form`` has it; :class:`ValueError` where it is none."""
    moment = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()

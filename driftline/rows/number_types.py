"""The types of numbers that a tensor may consist of, as numpy keeps them: bfloat16, which it has not, by its bits."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.errors import InvalidInput
from driftline.spec.tensors import BFLOAT16

_ARRAYS = {BFLOAT16: np.dtype("<u2")}


@cache
def array_type(dtype: str) -> np.dtype[Any]:
    """What arrays of a type consist of, in memory and, little-endian, where they are stored."""
    return _ARRAYS.get(dtype) or np.dtype(dtype).newbyteorder("<")


def is_whole(dtype: str) -> bool:
    """Whether a type is of whole numbers."""
    return dtype.startswith(("int", "uint"))


def as_type(wide: NDArray[Any], dtype: str, path: str) -> NDArray[Any]:
    """Numbers in a type; :class:`InvalidInput` names the first, below ``path``, that it has no place for.

    Args:
        wide: float64 or float32; whole ones int64 for a type of whole numbers.
    """
    if is_whole(dtype):
        limits = np.iinfo(dtype)
        if wide.size and (wide.max() > limits.max or wide.min() < limits.min):
            raise _misfit(wide, (wide <= limits.max) & (wide >= limits.min), path, f"does not fit {dtype}")
        return wide.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        narrow = _bits(wide.astype(np.float32)) if dtype == BFLOAT16 else wide.astype(dtype)
    found = as_numbers(narrow, dtype)
    # Their sum tells in one pass, unless it overflows.
    if not np.isfinite(np.add.reduce(found, axis=None, dtype=np.float64)):
        are_finite = np.isfinite(found)
        if not are_finite.all():
            raise _misfit(wide, are_finite, path, f"is not a finite {dtype}")
    return narrow


def as_numbers(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """An array of a type as numbers that numpy knows."""
    if dtype != BFLOAT16:
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)


def _bits(numbers: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of float32, rounded to the nearest even one."""
    whole = np.ascontiguousarray(numbers).view(np.uint32)
    return ((whole + 0x7FFF + ((whole >> 16) & 1)) >> 16).astype(np.uint16)


def _misfit(wide: NDArray[Any], fit: NDArray[np.bool_], path: str, reason: str) -> InvalidInput:
    where = np.unravel_index(int(np.argmin(fit)), wide.shape)
    number = wide[where].item()
    field = path + "".join(f"[{index}]" for index in where)
    return InvalidInput(f"{field}: {number!r} {reason}", field=field, value=repr(number))

"""Whether numbers are finite."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic, overload

from driftline.networks.kernels.compiled import B1, I1, inner, kernel


@intrinsic  # type: ignore[untyped-decorator]
def pointer(context: Any, address: Any) -> Any:
    """The address of a number as a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


def array_at(address: int, count: int, kind: Any) -> Any:
    """The ``count`` numbers of a kind that lie at an address."""
    return np.ctypeslib.as_array((ctypes.c_byte * int(count * kind().itemsize)).from_address(int(address))).view(kind)


@overload(array_at)  # type: ignore[untyped-decorator]
def _array_at(address: Any, count: Any, kind: Any) -> Any:
    def compiled(address: Any, count: Any, kind: Any) -> Any:
        return carray(pointer(address), count, kind)

    return compiled


@inner
def are_all_finite(numbers: Any) -> bool:
    """Whether all of ``[numbers]`` are finite: what is not differs from itself, or its difference to itself is no number."""
    count = 0
    for i in range(len(numbers)):
        count += 1 if numbers[i] - numbers[i] == 0 else 0
    return count == len(numbers)


@kernel(I1, I1, B1)
def are_finite(addresses: Any, counts: Any, are_double: Any) -> bool:
    """Whether all numbers are finite of arrays that lie at these addresses, with their counts, float64 or else float32."""
    for i in range(len(addresses)):
        if are_double[i]:
            is_one = are_all_finite(array_at(addresses[i], counts[i], np.float64))
        else:
            is_one = are_all_finite(array_at(addresses[i], counts[i], np.float32))
        if not is_one:
            return False
    return True

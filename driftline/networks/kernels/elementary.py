"""Functions of one number or of a row of numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftline.networks.kernels.compiled import inner

# 2π in three parts, of which the first ones have few digits: a small multiple of them is exact.
_FIRST, _SECOND, _THIRD = np.float32(6.28125), np.float32(0.0019350051879882812), np.float32(3.0199157663446e-07)
_TURNS = np.float32(1 / (2 * math.pi))
_HALF = np.float32(0.5)
# Minimax polynomial of cos on [-π, π] in the square of the angle.
_C0 = np.float32(1.0)
_C1 = np.float32(-0.5)
_C2 = np.float32(1 / math.factorial(4))
_C3 = np.float32(-1 / math.factorial(6))
_C4 = np.float32(1 / math.factorial(8))
_C5 = np.float32(-1 / math.factorial(10))
_C6 = np.float32(1 / math.factorial(12))
_C7 = np.float32(-1 / math.factorial(14))
_C8 = np.float32(1 / math.factorial(16))


@inner
def cosines(angles: Any) -> None:
    """Puts the cosine of each angle ``[numbers]`` in its place, to float32's precision; angles of many turns less exactly.

    The C library's takes one number at a time, and its last digit depends on the CPU.
    """
    for i in range(len(angles)):
        turns = np.floor(angles[i] * _TURNS + _HALF)
        x = ((angles[i] - turns * _FIRST) - turns * _SECOND) - turns * _THIRD
        s = x * x
        p = _C6 + s * (_C7 + s * _C8)
        p = _C3 + s * (_C4 + s * (_C5 + s * p))
        angles[i] = _C0 + s * (_C1 + s * (_C2 + s * p))


@inner
def log_softmax(row: Any) -> None:
    """Logits ``[columns]`` → log-probabilities, in place."""
    if len(row) == 0:
        return
    most = row[0]
    for i in range(1, len(row)):
        # What is no number stays none: it must not hide behind the others.
        if not row[i] <= most:
            most = row[i]
    total = np.float32(0)
    for i in range(len(row)):
        row[i] -= most
        total += math.exp(row[i])
    shift = np.float32(math.log(total))
    for i in range(len(row)):
        row[i] -= shift

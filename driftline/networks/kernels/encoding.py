"""The piecewise-linear encoding."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftline.networks.kernels.compiled import F1, F2, INT, inner, kernel

LIMIT, HALF = np.float32(5.0), np.float32(0.5)
"""Where a z-score, and what of a bin is filled, less a half, are clipped."""


@inner
def encode_part(rows: Any, centre: Any, slope: Any, first: int, count: int, limit: Any, out: Any) -> None:
    """The first ``count`` numbers of each row, scaled and clipped, into ``out[:, first : first + count]``."""
    for row in range(len(rows)):
        for j in range(count):
            value = (rows[row, j] - centre[first + j]) * slope[first + j]
            value = limit if value > limit else value
            out[row, first + j] = -limit if value < -limit else value


@inner
def encoded_rows(rows: Any, centre: Any, slope: Any, binned: int) -> Any:
    """``[batch, features]`` → ``[batch, width]``: z-scores, and then each bin of the first ``binned`` features."""
    features, width = rows.shape[1], len(slope)
    out = np.empty((len(rows), width), np.float32)
    encode_part(rows, centre, slope, 0, features, LIMIT, out)
    for first in range(features, width, max(binned, 1)):
        encode_part(rows, centre, slope, first, binned, HALF, out)
    return out


@kernel(F2, F1, F1, INT)
def encode(rows: Any, centre: Any, slope: Any, binned: int) -> Any:
    """:func:`encoded_rows`. ``centre`` and ``slope`` ``[width]``."""
    return encoded_rows(rows, centre, slope, binned)

"""The piecewise-linear encoding."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftline.networks.kernels.compiled import F1, F2, INT, inner, kernel

LIMIT, HALF = np.float32(5.0), np.float32(0.5)
"""Where a z-score, and what of a bin is filled, less a half, are clipped."""


@inner
def encode_part(row: Any, centre: Any, slope: Any, first: Any, count: Any, limit: Any, out: Any) -> None:
    """The first ``count`` numbers of a row, scaled and clipped, into ``out[first : first + count]``.

    ``first`` and ``count`` have no sign: a place that is known not to be counted from the end is one of a vector.
    """
    for j in range(count):
        place = first + np.uint64(j)
        value = (row[j] - centre[place]) * slope[place]
        value = limit if value > limit else value
        out[place] = -limit if value < -limit else value


@inner
def encode_rows(rows: Any, centre: Any, slope: Any, binned: int, out: Any) -> None:
    """``[batch, features]`` → ``out`` ``[batch, width]``: z-scores, and then each bin of the first ``binned`` features."""
    features, width = rows.shape[1], len(slope)
    for row in range(len(rows)):
        encode_part(rows[row], centre, slope, np.uint64(0), np.uint64(features), LIMIT, out[row])
        for first in range(features, width, max(binned, 1)):
            encode_part(rows[row], centre, slope, np.uint64(first), np.uint64(binned), HALF, out[row])


@inner
def encoded_rows(rows: Any, centre: Any, slope: Any, binned: int) -> Any:
    """:func:`encode_rows` into an array of its own."""
    out = np.empty((len(rows), len(slope)), np.float32)
    encode_rows(rows, centre, slope, binned, out)
    return out


@kernel(F2, F1, F1, INT, F2)
def encode(rows: Any, centre: Any, slope: Any, binned: int, out: Any) -> None:
    """:func:`encode_rows`. ``centre`` and ``slope`` ``[width]``."""
    encode_rows(rows, centre, slope, binned, out)

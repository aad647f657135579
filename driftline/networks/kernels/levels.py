"""What the last labels tell of a number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import D1, D2, FLAG, I0, inner, kernel

D3 = types.Array(types.float64, 3, "C")
UNIT = types.Tuple((D1, D1, D1, D1))
"""Centre, scale, and the range of answers, from low to high; each ``[outputs]``."""
LEVELS = types.Tuple((D2, D2, I0))
"""The last labels ``[lags, outputs]``, the newest first, running means ``[means, outputs]``, and how many were seen."""
LAGS = 4
"""So many of the last labels are told with each answer, the newest first."""
BELIEVED = 30.0
"""The last label, where it is out of range, may still be so many times as large as any label in it: levels do shift."""
FARTHEST = 10.0
"""Where differences between labels are clipped, in units of the target."""


@inner
def believed(label: Any, low: Any, high: Any) -> Any:
    """A label as what is told by it alone takes it; only what is absurd is brought nearer."""
    most = max(max(abs(low), abs(high)), high - low) * BELIEVED
    label = most if label > most else label
    return -most if label < -most else label


@inner
def clipped(value: Any, farthest: Any) -> Any:
    """A number within ``farthest`` of 0; what is none stays none."""
    value = farthest if value > farthest else value
    return -farthest if value < -farthest else value


@inner
def told_by(levels: Any, in_order: bool, answers: Any, lags: Any) -> None:
    """What the members answer to any row into ``answers`` ``[1 + means, outputs]``; the last labels into ``lags``.

    Of rows that are ``in_order`` alone more is known than the slowest mean.
    """
    last, means, seen = levels
    lags[:] = last
    answers[0], answers[1:] = last[0], means
    if not in_order:
        lags[:], answers[:-1] = np.nan, np.nan
    lags[seen[()] :] = np.nan
    if not seen[()]:
        answers[:] = np.nan


@inner
def with_lags(scores: Any, lags: Any, unit: Any, out: Any) -> None:
    """What the members take that foresee the difference to the last label, into ``out`` ``[features + lags · outputs + 1]``:
    z-scores ``[features]``, where the last of the labels ``lags`` ``[lags, outputs]`` lies, and how it differs from those
    before; and a constant. It is NaN where no label was known.
    """
    centre, scale, _, _ = unit
    place = len(scores)
    out[:place] = scores
    for output in range(len(centre)):
        out[place] = clipped((lags[0, output] - centre[output]) / scale[output], FARTHEST)
        place += 1
    for lag in range(1, len(lags)):
        for output in range(len(centre)):
            difference = (lags[lag, output] - lags[0, output]) / scale[output]
            out[place] = 0.0 if np.isnan(difference) else clipped(difference, FARTHEST)
            place += 1
    out[place] = 1.0


@kernel(D2, D1, D1)
def believe(labels: Any, low: Any, high: Any) -> Any:
    """Labels ``[rows, outputs]`` as what is told by them alone takes them (:func:`believed`)."""
    out = np.empty(labels.shape)
    for row in range(len(labels)):
        for output in range(labels.shape[1]):
            out[row, output] = believed(labels[row, output], low[output], high[output])
    return out


@kernel(LEVELS, FLAG)
def told(levels: Any, in_order: bool) -> tuple[Any, Any]:
    """:func:`told_by` in arrays of their own."""
    last, means, _ = levels
    answers, lags = np.empty((1 + len(means), means.shape[1])), np.empty(last.shape)
    told_by(levels, in_order, answers, lags)
    return answers, lags


@kernel(D2, LEVELS, D1)
def follow(labels: Any, levels: Any, rates: Any) -> None:
    """Takes labels ``[rows, outputs]`` in, in their order; ``rates`` ``[means]`` is how much one counts in each mean."""
    last, means, seen = levels
    for row in range(len(labels)):
        seen[()] += 1
        for mean in range(len(means)):
            # Until a mean is of as many labels as its rate takes, each counts alike.
            rate = max(rates[mean], 1 / seen[()])
            for output in range(labels.shape[1]):
                means[mean, output] += rate * (labels[row, output] - means[mean, output])
        for lag in range(len(last) - 1, 0, -1):
            last[lag] = last[lag - 1]
        last[0] = labels[row]

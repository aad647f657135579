"""Linear regressions: sums of rows, and what these have as their solution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import D1, D2, DOUBLE, F1, F2, FLAG, I1, INT, inner, kernel
from driftline.networks.kernels.levels import D3, UNIT
from driftline.networks.kernels.ridge import subtract

SUMS = types.Tuple((D1, D3, D3, D2, DOUBLE, D3))
"""What each head keeps per row ``[heads]``, the sums ``φφᵀ`` ``[heads, features, features]`` and ``φyᵀ`` ``[heads, features,
outputs]``, the penalty ``[heads, 1]``, the damping, and the heads ``[heads, features, outputs]``."""
STANDS = 1e-6
"""What is added to the diagonal for the constant: alone it must not stand on nothing."""
LEAST_NOISE = 1e-6


@inner
def add_rows(features: Any, targets: Any, weights: Any, kept: Any, gram: Any, moment: Any) -> None:
    """Takes rows ``[rows, features]`` into sums, in their order.

    Args:
        targets: ``[heads, rows, outputs]``. ``weights`` ``[rows]``.
        kept: ``[heads]``, the share of all before that each keeps per row.
        gram: ``[heads, features, features]``. ``moment`` ``[heads, features, outputs]``.
    """
    rows, count = features.shape
    for head in range(len(gram)):
        before = kept[head] ** rows
        for i in range(count):
            for j in range(count):
                gram[head, i, j] *= before
            for output in range(moment.shape[2]):
                moment[head, i, output] *= before
        for row in range(rows):
            share = weights[row] * kept[head] ** (rows - 1 - row)
            own = features[row]
            for i in range(count):
                part, sums = share * own[i], gram[head, i]
                for j in range(count):
                    sums[j] += part * own[j]
                for output in range(moment.shape[2]):
                    moment[head, i, output] += part * targets[head, row, output]


@inner
def penalise(gram: Any, penalty: Any, damping: Any) -> None:
    """Adds to the diagonal ``penalty``, but for the constant, which is the last one, and a share of its mean."""
    mean = 0.0
    for i in range(len(gram)):
        mean += gram[i, i]
    mean /= len(gram)
    for i in range(len(gram)):
        gram[i, i] += damping * mean + (penalty if i < len(gram) - 1 else STANDS)


@inner
def factorise(gram: Any) -> bool:
    """The upper half of ``gram`` becomes a triangular F with FᵀF = ``gram``, if there is one."""
    for k in range(len(gram)):
        # What is no number is not more than 0 either.
        if not gram[k, k] > 0:
            return False
        root = math.sqrt(gram[k, k])
        for j in range(k, len(gram)):
            gram[k, j] /= root
        for i in range(k + 1, len(gram)):
            subtract(gram[k, i:], gram[k, i], gram[i, i:])
    return True


@inner
def solve_factored(factor: Any, x: Any) -> None:
    """``x`` ``[features]`` becomes the solution of ``FᵀF y = x``."""
    for i in range(len(x)):
        x[i] /= factor[i, i]
        subtract(factor[i, i + 1 :], x[i], x[i + 1 :])
    for i in range(len(x) - 1, -1, -1):
        total = x[i]
        for j in range(i + 1, len(x)):
            total -= factor[i, j] * x[j]
        x[i] = total / factor[i, i]


@inner
def are_sums_finite(gram: Any) -> bool:
    """Whether these are numbers ``[heads, features, features]``."""
    total = 0.0
    for value in gram.flat:
        total += value - value
    return total == 0


@inner
def solve_heads(gram: Any, moment: Any, penalty: Any, damping: Any, heads: Any) -> None:
    """Sets heads ``[heads, features, outputs]`` to the solution, exactly: each from a factor of its own sums.

    They stay where the sums of one are not fit for it, and are no numbers where sums are none.
    """
    found = np.empty(heads.shape, np.float64)
    for head in range(len(heads)):
        factor = gram[head].copy()
        penalise(factor, penalty[head, 0], damping)
        if not factorise(factor):
            if not are_sums_finite(gram):
                heads[:] = np.nan
            return
        for output in range(heads.shape[2]):
            x = moment[head, :, output].copy()
            solve_factored(factor, x)
            found[head, :, output] = x
    heads[:] = found


@inner
def follow_noise(errors: Any, first: int, scale: Any, penalty: Any) -> None:
    """Penalises as much as there is noise, as Bayes would: what has none is learned exactly.

    Args:
        errors: running absolute errors ``[outputs, fadings, members]``, of which the last fading counts.
        first: which member is the first head. ``scale`` ``[outputs]`` is the deviation of what is learned.
        penalty: ``[heads, 1]``.
    """
    for head in range(len(penalty)):
        mean = 0.0
        for output in range(len(errors)):
            relative = errors[output, errors.shape[1] - 1, first + head] / scale[output]
            mean += relative * relative
        penalty[head, 0] = min(max(mean / len(errors), LEAST_NOISE), 1.0)


@kernel(F2, I1, F2, F1, UNIT, SUMS, D3, INT, FLAG)
def learn(
    encoded: Any,
    slots: Any,
    targets: Any,
    weights: Any,
    unit: Any,
    sums: Any,
    errors: Any,
    first: int,
    has_errors: bool,
) -> None:
    """Takes rows of a window into the sums of linear members and solves these.

    Args:
        encoded: ``[size, width]``, whose first numbers are the features. ``targets`` ``[size, outputs]`` and ``weights``
            ``[size]`` are of its rows.
        slots: where the rows lie, oldest first.
        errors: as in :func:`follow_noise`, where there are any.
    """
    centre, scale, low, high = unit
    kept, gram, moment, penalty, damping, heads = sums
    count, outputs = gram.shape[1] - 1, targets.shape[1]
    features = np.ones((len(slots), count + 1))
    wanted, counted = np.empty((len(gram), len(slots), outputs)), np.empty(len(slots), np.float32)
    for row in range(len(slots)):
        slot = slots[row]
        features[row, :count] = encoded[slot, :count]
        counted[row] = weights[slot]
        for output in range(outputs):
            value = min(max(np.float64(targets[slot, output]), low[output]), high[output])
            wanted[:, row, output] = (value - centre[output]) / scale[output]
    add_rows(features, wanted, counted, kept, gram, moment)
    if has_errors:
        follow_noise(errors, first, scale, penalty)
    solve_heads(gram, moment, penalty, damping, heads)

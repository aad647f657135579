"""Ridge regression on random features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import F1, F2, F3, FLOAT, I1, INT, inner, kernel
from driftline.networks.kernels.elementary import cosines, log_softmax
from driftline.networks.kernels.linear import add_product


@inner
def projected(encoded: Any, weight: Any, phase: Any) -> Any:
    """``[batch, width]`` → random features ``[batch, units]``."""
    out = np.empty((len(encoded), len(phase)), np.float32)
    out[:] = phase
    add_product(encoded, weight, out)
    for row in range(len(out)):
        cosines(out[row])
    return out


@kernel(F2, F2, F1)
def project(encoded: Any, weight: Any, phase: Any) -> Any:
    """:func:`projected`."""
    return projected(encoded, weight, phase)


@inner
def heads_answered(features: Any, heads: Any, out: Any) -> None:
    """Log-probabilities ``[batch, heads, columns]`` into ``out``, of random features ``[batch, units]``."""
    sums = np.empty((len(features), heads.shape[2]), np.float32)
    for head in range(len(heads)):
        sums[:] = np.float32(0)
        add_product(features, heads[head], sums)
        for row in range(len(features)):
            log_softmax(sums[row])
            out[row, head] = sums[row]


@kernel(F2, F2, F1, F3)
def answers(encoded: Any, weight: Any, phase: Any, heads: Any) -> Any:
    """Log-probabilities ``[batch, heads, columns]`` of encoded rows ``[batch, width]``."""
    features = projected(encoded, weight, phase)
    out = np.empty((len(encoded), len(heads), heads.shape[2]), np.float32)
    heads_answered(features, heads, out)
    return out


@inner
def subtract(row: Any, share: Any, out: Any) -> None:
    """``out`` ``[numbers]`` becomes less by a share of a row ``[numbers]``."""
    for i in range(len(out)):
        out[i] -= share * row[i]


@inner
def solve(factor: Any, transposed: Any, x: Any) -> None:
    """``x`` ``[units]`` becomes the solution of ``FᵀF y = x``, of an upper triangular ``factor`` F and its transpose."""
    units = len(x)
    for i in range(units):
        x[i] /= factor[i, i]
        subtract(factor[i, i + 1 :], x[i], x[i + 1 :])
    for i in range(units - 1, -1, -1):
        x[i] /= factor[i, i]
        subtract(transposed[i, :i], x[i], x[:i])


@inner
def product(one: Any, other: Any) -> Any:
    """The inner product of two rows ``[numbers]``, in eight sums."""
    whole = len(one) - len(one) % 8
    sums = np.zeros(8, np.float32)
    for i in range(0, whole, 8):
        for j in range(8):
            sums[j] += one[i + j] * other[i + j]
    total = ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))
    for i in range(whole, len(one)):
        total += one[i] * other[i]
    return total


@inner
def direction(features: Any, kept: Any, weight: Any, factor: Any, transposed: Any, known: Any, shares: Any) -> Any:
    """How one row with ``features`` ``[units]`` moves the solution per error (Plackett 1950).

    ``known`` ``[rows, units]`` are the directions of the rows since the factor was made, and ``shares`` how much each counts;
    the share of this row is put behind them. ``kept`` is the share of all before that is kept per row, ``weight`` the row's.
    """
    found = features.copy()
    solve(factor, transposed, found)
    for row in range(len(known)):
        subtract(known[row], shares[row] * product(known[row], features), found)
    shares[len(known)] = weight / (np.float32(kept ** (len(known) + 1)) + weight * product(found, features))
    return found


@inner
def move(features: Any, direction: Any, share: Any, target: int, unit: Any, head: Any) -> None:
    """Moves a head ``[units, columns]`` to the solution that has one row more, of the column ``target``.

    A head is ``unit`` times the solution.
    """
    columns = head.shape[1]
    errors = np.zeros(columns, np.float32)
    for i in range(len(features)):
        for column in range(columns):
            errors[column] -= features[i] * head[i, column]
    errors[target] += unit
    for i in range(len(features)):
        step = share * direction[i]
        for column in range(columns):
            head[i, column] += step * errors[column]


FACTORS = types.Tuple((F3, F3, F3, F2))
"""Upper triangular factors ``[heads, units, units]``, the same transposed, directions ``[heads, rows, units]``, and shares."""


@kernel(F2, I1, I1, F1, INT, INT, F1, F2, F1, FLOAT, FLOAT, FACTORS, F3)
def follow(
    encoded: Any,
    slots: Any,
    targets: Any,
    weights: Any,
    known: int,
    new: int,
    kept: Any,
    weight: Any,
    phase: Any,
    amplitude: Any,
    unit: Any,
    factors: Any,
    heads: Any,
) -> None:
    """Moves heads ``[heads, units, columns]`` to the solution that has the newest rows as well.

    Args:
        encoded: ``[size, width]``, a window. ``targets`` ``[size]``, columns, and ``weights`` ``[size]`` are of its rows.
        slots: where the rows lie that have come since the factors were made.
        known: how many of them, the first ones, have their directions already.
        new: how many of them, the last ones, the heads do not have.
        kept: ``[heads]``, the share of all before that each keeps per row.
        weight: of the random features, with their ``phase``. These are ``amplitude`` times as large.
        unit: what solutions are multiplied by to be heads.
    """
    upper, lower, directions, shares = factors
    for row in range(known, len(slots)):
        slot = slots[row]
        features = projected(encoded[slot : slot + 1], weight, phase)[0]
        for i in range(len(features)):
            features[i] *= amplitude
        for head in range(len(kept)):
            own = directions[head]
            own[row] = direction(
                features, kept[head], weights[slot], upper[head], lower[head], own[:row], shares[head, : row + 1]
            )
            if row >= len(slots) - new:
                move(features, own[row], shares[head, row], targets[slot], unit, heads[head])

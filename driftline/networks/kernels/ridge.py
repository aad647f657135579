"""Ridge regression on random features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import F1, F2, F3, inner, kernel
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
def subtract_four(rows: Any, first: int, start: int, end: int, x: Any) -> None:
    """``x[start:end]`` becomes less by four of the ``rows``, from the ``first`` on, each as often as ``x`` says at its place.

    To read four at a time takes half as long as one after the other, and less where they have to come from memory.
    """
    x0, x1, x2, x3 = x[first], x[first + 1], x[first + 2], x[first + 3]
    r0, r1, r2, r3 = (
        rows[first, start:end],
        rows[first + 1, start:end],
        rows[first + 2, start:end],
        rows[first + 3, start:end],
    )
    out = x[start:end]
    for j in range(len(out)):
        out[j] -= (x0 * r0[j] + x1 * r1[j]) + (x2 * r2[j] + x3 * r3[j])


@inner
def solve(factor: Any, transposed: Any, x: Any) -> None:
    """``x`` ``[units]`` becomes the solution of ``FᵀF y = x``, of an upper triangular ``factor`` F and its transpose."""
    units = len(x)
    whole = units - units % 4
    for first in range(0, whole, 4):
        for i in range(first, first + 4):
            for j in range(first, i):
                x[i] -= factor[j, i] * x[j]
            x[i] /= factor[i, i]
        subtract_four(factor, first, first + 4, units, x)
    for i in range(whole, units):
        x[i] /= factor[i, i]
        subtract(factor[i, i + 1 :], x[i], x[i + 1 :])
    for i in range(units - 1, whole - 1, -1):
        x[i] /= factor[i, i]
        subtract(transposed[i, :i], x[i], x[:i])
    for first in range(whole - 4, -1, -4):
        for i in range(first + 3, first - 1, -1):
            for j in range(i + 1, first + 4):
                x[i] -= transposed[j, i] * x[j]
            x[i] /= factor[i, i]
        subtract_four(transposed, first, 0, first, x)


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


@inner
def follow(
    row: Any, target: int, weight: Any, place: int, is_new: bool, ridge: Any, kept: Any, scales: Any, factors: Any
) -> None:
    """Takes the next row ``[1, width]`` since the factors were made; where it ``is_new``, moves the heads to the solution
    that has it as well.

    Args:
        target: its column. ``weight``: how much it counts.
        place: how many rows have come since before it.
        ridge: weight and phase of the random features, and heads ``[heads, units, columns]``.
        kept: ``[heads]``, the share of all before that each keeps per row.
        scales: how large the features are, and what solutions are multiplied by to be heads.
    """
    upper, lower, directions, shares = factors
    features = projected(row, ridge[0], ridge[1])[0]
    for i in range(len(features)):
        features[i] *= scales[0]
    for head in range(len(kept)):
        own = directions[head]
        known, counted = own[:place], shares[head, : place + 1]
        own[place] = direction(features, kept[head], weight, upper[head], lower[head], known, counted)
        if is_new:
            move(features, own[place], shares[head, place], target, scales[1], ridge[2][head])

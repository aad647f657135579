"""The nearest of the newest rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import F1, F2, I0, I1, INT, inner, kernel

NEIGHBOURS = types.Tuple((F2, F1, I1, I0, F2, I1, F2, F1))
"""Rows, norms, targets, how many were seen, shifts, kinds, votes, even votes."""


@inner
def distances(row: Any, rows: Any, norms: Any, filled: int, out: Any) -> None:
    """Squared distances of a row ``[features]`` to the first ``filled`` of rows, in units of their mean, into ``out``."""
    features = len(row)
    own = np.float32(0)
    for j in range(features):
        own += row[j] * row[j]
    whole = filled - filled % 4
    for i in range(0, whole, 4):
        s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for j in range(features):
            s0 += row[j] * rows[i, j]
            s1 += row[j] * rows[i + 1, j]
            s2 += row[j] * rows[i + 2, j]
            s3 += row[j] * rows[i + 3, j]
        out[i], out[i + 1], out[i + 2], out[i + 3] = s0, s1, s2, s3
    for i in range(whole, filled):
        s0 = np.float32(0)
        for j in range(features):
            s0 += row[j] * rows[i, j]
        out[i] = s0
    total = np.float64(0)
    for i in range(filled):
        distance = (norms[i] - np.float32(2) * out[i]) + own
        distance = np.float32(0) if distance < 0 else distance
        out[i] = distance
        total += distance
    scale = np.float32(1) / (np.float32(total / filled) + np.float32(1e-6))
    for i in range(filled):
        out[i] *= scale


@inner
def smallest(values: Any, shifts: Any, count: int, least: Any, places: Any) -> None:
    """The least sums of a value and its shift, and where they are; of equal ones the first.

    Args:
        values: ``[numbers]``, of which ``count`` are looked at.
        shifts: ``[numbers]``.
        least: ``[most]``, where the sums are put, in order. ``places`` the same.
    """
    most = len(least)
    for place in range(most):
        least[place] = np.inf
        places[place] = 0
    for i in range(count):
        value = values[i] + shifts[i]
        if value < least[most - 1]:
            place = most - 1
            while place > 0 and least[place - 1] > value:
                least[place], places[place] = least[place - 1], places[place - 1]
                place -= 1
            least[place], places[place] = value, i


@inner
def votes_of(
    row: Any,
    rows: Any,
    norms: Any,
    filled: int,
    oldest: int,
    shifts: Any,
    kinds: Any,
    votes: Any,
    weights: Any,
    slots: Any,
) -> None:
    """The nearest rows to a row of z-scores ``[features]``: the ``weights`` of each member, which sum to 1, and the ``slots``.

    Both are ``[members, most votes]``. The other arguments are as :func:`nearest` has them.
    """
    most = min(votes.shape[1], filled)
    away = np.empty(filled, np.float32)
    distances(row, rows, norms, filled, away)
    least = np.empty((len(shifts), most), np.float32)
    places = np.empty((len(shifts), most), np.int64)
    for kind in range(len(shifts)):
        smallest(away, shifts[kind, oldest:], filled, least[kind], places[kind])
    for member in range(len(kinds)):
        kind = kinds[member]
        total = np.float32(0)
        for vote in range(most):
            weight = votes[member, vote] / np.float32(np.sqrt(least[kind, vote] + np.float32(1e-3)))
            weights[member, vote], slots[member, vote] = weight, places[kind, vote]
            total += weight
        for vote in range(most):
            weights[member, vote] /= total


@kernel(F2, F2, F1, INT, INT, F2, I1, F2)
def nearest(
    scores: Any, rows: Any, norms: Any, filled: int, oldest: int, shifts: Any, kinds: Any, votes: Any
) -> tuple[Any, Any]:
    """The nearest rows to z-scores ``[batch, features]``.

    Args:
        rows: ``[size, features]``, a ring of rows, of which the first ``filled`` were written. ``norms`` ``[size]``.
        oldest: where in ``shifts`` those of the first slot are.
        shifts: ``[kinds, 2 * size]``, how far rows are moved away: twice those of all slots from the oldest to the newest.
        kinds: ``[members]``, which of the shifts each has.
        votes: ``[members, most votes]``, 1 for each neighbour that votes, else 0.

    Returns:
        ``(weights, slots)``, each ``[batch, members, votes]``: the weights of a member sum to 1.
    """
    shape = (len(scores), len(kinds), min(votes.shape[1], filled))
    weights, slots = np.empty(shape, np.float32), np.empty(shape, np.int64)
    for row in range(len(scores)):
        votes_of(scores[row], rows, norms, filled, oldest, shifts, kinds, votes, weights[row], slots[row])
    return weights, slots


@inner
def vote(weights: Any, slots: Any, targets: Any, even: Any, out: Any) -> None:
    """Log-probabilities ``[members, columns]`` into ``out``, of the votes of one row; ``targets`` ``[size]`` are columns.

    ``even`` ``[members]`` is what is given evenly to all columns.
    """
    members, columns = out.shape
    for member in range(members):
        for column in range(columns):
            out[member, column] = even[member] / np.float32(columns)
        for place in range(weights.shape[1]):
            out[member, targets[slots[member, place]]] += weights[member, place]
        for column in range(columns):
            out[member, column] = np.log(out[member, column] / (np.float32(1) + even[member]))


@inner
def answered(row: Any, neighbours: Any, out: Any) -> None:
    """Log-probabilities ``[members, columns]`` into ``out``, of one row of z-scores ``[features]``."""
    rows, norms, targets, seen_so_far, shifts, kinds, votes, even = neighbours
    size, seen = len(rows), seen_so_far[()]
    filled = min(seen, size)
    if not filled:
        out[:] = -np.log(np.float32(out.shape[1]))
        return
    shape = (len(kinds), min(votes.shape[1], filled))
    weights, slots = np.empty(shape, np.float32), np.empty(shape, np.int64)
    votes_of(row, rows, norms, filled, -seen % size, shifts, kinds, votes, weights, slots)
    vote(weights, slots, targets, even, out)


@kernel(F2, NEIGHBOURS, INT)
def answers(scores: Any, neighbours: Any, columns: int) -> Any:
    """Log-probabilities ``[batch, members, columns]`` of rows of z-scores ``[batch, features]``."""
    out = np.empty((len(scores), len(neighbours[5]), columns), np.float32)
    for row in range(len(scores)):
        answered(scores[row], neighbours, out[row])
    return out

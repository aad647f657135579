"""The nearest of the newest rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import F1, F2, I0, I1, INT, inner, kernel
from driftline.networks.kernels.linear import add_product

NEIGHBOURS = types.Tuple((F2, F1, I1, I0, F2, I1, F2, F1))
"""Rows, norms, targets, how many were seen, shifts, kinds, votes, even votes."""
TURNED = 4
"""From so many rows on it pays to turn those that are kept: a vector then holds a feature of many."""
BLOCK = 64
"""So many sums are looked at together before any of them is."""


@inner
def products(scores: Any, rows: Any, filled: int) -> Any:
    """Products ``[batch, filled]`` of z-scores ``[batch, features]`` and the first ``filled`` kept rows ``[size, features]``.

    The sums have one order, whichever way is taken.
    """
    features = scores.shape[1]
    out = np.zeros((len(scores), filled), np.float32)
    if len(scores) >= TURNED:
        turned = np.empty((features, filled), np.float32)
        for i in range(filled):
            for j in range(features):
                turned[j, i] = rows[i, j]
        add_product(scores, turned, out)
        return out
    for row in range(len(scores)):
        add_products(scores[row], rows[:filled], out[row])
    return out


@inner
def add_products(row: Any, rows: Any, out: Any) -> None:
    """``out`` ``[rows]`` grows by ``rows @ row``, as :func:`add_product` adds, two rows at a time."""
    features = len(row)
    whole = features - features % 4
    for i in range(0, len(rows), 2):
        other = min(i + 1, len(rows) - 1)
        s, t = out[i], out[other]
        for j in range(0, whole, 4):
            x0, x1, x2, x3 = row[j], row[j + 1], row[j + 2], row[j + 3]
            s += (x0 * rows[i, j] + x1 * rows[i, j + 1]) + (x2 * rows[i, j + 2] + x3 * rows[i, j + 3])
            t += (x0 * rows[other, j] + x1 * rows[other, j + 1]) + (x2 * rows[other, j + 2] + x3 * rows[other, j + 3])
        for j in range(whole, features):
            s += row[j] * rows[i, j]
            t += row[j] * rows[other, j]
        out[i], out[other] = s, t


@inner
def distances(row: Any, norms: Any, out: Any) -> None:
    """Products of a row ``[features]`` with others ``[filled]`` → its squared distances to these, in units of their mean."""
    own = np.float32(0)
    for j in range(len(row)):
        own += row[j] * row[j]
    total = np.float64(0)
    for i in range(len(out)):
        distance = (norms[i] - np.float32(2) * out[i]) + own
        distance = np.float32(0) if distance < 0 else distance
        out[i] = distance
        total += distance
    scale = np.float32(1) / (np.float32(total / len(out)) + np.float32(1e-6))
    for i in range(len(out)):
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
    for start in range(0, count, BLOCK):
        end, bound, few = min(start + BLOCK, count), least[most - 1], 0
        some, their = values[start:end], shifts[start:end]
        for i in range(len(some)):
            few += 1 if some[i] + their[i] < bound else 0
        if few:
            put(values, shifts, start, end, least, places)


@inner
def put(values: Any, shifts: Any, start: int, end: int, least: Any, places: Any) -> None:
    """Those from ``start`` to ``end`` among the least sums."""
    most = len(least)
    for i in range(start, end):
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
    away: Any,
    norms: Any,
    oldest: int,
    shifts: Any,
    kinds: Any,
    votes: Any,
    weights: Any,
    slots: Any,
) -> None:
    """The nearest rows to a row of z-scores ``[features]``: the ``weights`` of each member, which sum to 1, and the ``slots``.

    Both are ``[members, most votes]``. ``away`` ``[filled]`` are the products with the kept rows, and become distances. The
    others are as :func:`nearest` has them.
    """
    filled = len(away)
    most = min(votes.shape[1], filled)
    distances(row, norms, away)
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
    away = products(scores, rows, filled)
    for row in range(len(scores)):
        votes_of(scores[row], away[row], norms, oldest, shifts, kinds, votes, weights[row], slots[row])
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
def answered(scores: Any, neighbours: Any, out: Any) -> None:
    """Log-probabilities ``[batch, members, columns]`` into ``out``, of rows of z-scores ``[batch, features]``."""
    rows, norms, targets, seen_so_far, shifts, kinds, votes, even = neighbours
    size, seen = len(rows), seen_so_far[()]
    filled = min(seen, size)
    if not filled:
        out[:] = -np.log(np.float32(out.shape[2]))
        return
    shape = (len(kinds), min(votes.shape[1], filled))
    weights, slots = np.empty(shape, np.float32), np.empty(shape, np.int64)
    away = products(scores, rows, filled)
    for row in range(len(scores)):
        votes_of(scores[row], away[row], norms, -seen % size, shifts, kinds, votes, weights, slots)
        vote(weights, slots, targets, even, out[row])


@kernel(F2, NEIGHBOURS, INT)
def answers(scores: Any, neighbours: Any, columns: int) -> Any:
    """Log-probabilities ``[batch, members, columns]`` of rows of z-scores ``[batch, features]``."""
    out = np.empty((len(scores), len(neighbours[5]), columns), np.float32)
    answered(scores, neighbours, out)
    return out

"""New labels, taken in by all members of a classification's mixture that learn of each as it comes."""

from __future__ import annotations

from typing import Any

from numba import types

from driftline.networks.kernels import labels as of_labels
from driftline.networks.kernels import neighbours as near
from driftline.networks.kernels import ridge as ridges
from driftline.networks.kernels.compiled import F1, F2, FLOAT, I1, INT, kernel
from driftline.networks.kernels.mixture import ENCODING, RIDGE
from driftline.networks.kernels.trees import TREES
from driftline.networks.kernels.window import WINDOW, put

ROWS = types.Tuple((F2, I1, F1, I1))
"""Rows as they came ``[rows, features]``, their columns, how much each counts, and their log numbers."""
PACES = types.Tuple((FLOAT, FLOAT))


@kernel(
    *(ROWS, INT, ENCODING, WINDOW, I1, near.NEIGHBOURS, TREES, of_labels.LABELS, PACES),
    *(RIDGE, F1, PACES, ridges.FACTORS, INT, INT),
)
def learn(
    new: Any,
    binned: int,
    encoding: Any,
    window: Any,
    numbers: Any,
    neighbours: Any,
    trees: Any,
    labels: Any,
    paces: Any,
    ridge: Any,
    kept: Any,
    scales: Any,
    factors: Any,
    unsolved: int,
    known: int,
) -> None:
    """Keeps new rows among the newest, counts their labels, and lets the ridge's heads follow each.

    Args:
        new: the rows, in their order.
        numbers: ``[size]``, the log numbers of the rows of the ``window``.
        paces: how fast frequencies of labels follow, and the least of them.
        kept: of the heads; ``scales`` and ``factors`` as :func:`driftline.networks.kernels.ridge.follow` has them. Where there
            are no factors, the heads stay.
        unsolved: how many of the newest rows before these are not in the sums that the factors are of.
        known: how many of them, the first ones, have their directions already.

    The others are the arrays of the members.
    """
    rows, columns, weights, of_rows = new
    scores, norms, targets, seen = neighbours[0], neighbours[1], neighbours[2], neighbours[3]
    _, own_weights, encoded, _ = window
    first, size = seen[()], len(encoded)
    for row in range(len(rows)):
        slot = (first + row) % size
        targets[slot], numbers[slot] = columns[row], of_rows[row]
    put(rows, weights, binned, encoding, window, scores, norms, seen, trees)
    of_labels.follow(columns, labels, paces[0], paces[1])
    if len(factors[0]):
        for place in range(known, unsolved + len(rows)):
            slot = (first - unsolved + place) % size
            row, is_new = encoded[slot : slot + 1], place >= unsolved
            ridges.follow(row, targets[slot], own_weights[slot], place, is_new, ridge, kept, scales, factors)

"""The newest rows, which members replay, are near to, and follow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import F1, F2, I0, INT, inner, kernel
from driftline.networks.kernels.encoding import encoded_rows
from driftline.networks.kernels.trees import TREES, add_sums

ENCODING = types.Tuple((F1, F1))
WINDOW = types.Tuple((F2, F1, F2, F2))
"""Rows as they came, how much each counts, the same encoded, and what the trees say of them (none where there are no trees)."""


@inner
def write_scores(row: Any, rows: Any, norms: Any, slot: int) -> None:
    """Puts z-scores ``[features]`` into a slot, with their squared norm."""
    norm = np.float32(0)
    for j in range(rows.shape[1]):
        rows[slot, j] = row[j]
        norm += row[j] * row[j]
    norms[slot] = norm


@inner
def put(
    rows: Any, weights: Any, binned: int, encoding: Any, window: Any, scores: Any, norms: Any, seen: Any, trees: Any
) -> None:
    """Puts rows ``[rows, features]`` with their ``weights`` ``[rows]`` in the places of the oldest of a ``window``.

    ``scores`` ``[size, features]`` with their squared ``norms`` are what neighbours are sought among; ``seen`` counts rows.
    """
    own, own_weights, own_encoded, sums = window
    encoded = encoded_rows(rows, encoding[0], encoding[1], binned)
    for row in range(len(rows)):
        slot = seen[()] % len(own)
        own[slot], own_weights[slot], own_encoded[slot] = rows[row], weights[row], encoded[row]
        write_scores(encoded[row], scores, norms, slot)
        if sums.shape[1]:
            sums[slot] = np.float32(0)
            add_sums(rows[row : row + 1], trees[0], trees[1], trees[2], sums[slot : slot + 1])
        seen[()] += 1


@kernel(F2, F1, INT, ENCODING, WINDOW, F2, F1, I0, TREES)
def keep(
    rows: Any, weights: Any, binned: int, encoding: Any, window: Any, scores: Any, norms: Any, seen: Any, trees: Any
) -> None:
    """:func:`put`."""
    put(rows, weights, binned, encoding, window, scores, norms, seen, trees)


@kernel(F2, F2, F1)
def write(encoded: Any, scores: Any, norms: Any) -> None:
    """Puts the z-scores that begin each encoded row ``[size, width]`` into all slots."""
    for slot in range(len(scores)):
        write_scores(encoded[slot], scores, norms, slot)

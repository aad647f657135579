"""What labels alone say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import F1, F2, I0, I2, INT, inner, kernel

LABELS = types.Tuple((F2, I2, F1, F1, I0, I0))
"""Counts, successors, rest, frequencies, the newest label, how many were learned."""


@inner
def log_shares(counts: Any, out: Any) -> None:
    """How large a share of all each of the counts ``[columns]`` is, as log-probabilities, into ``out``."""
    total = np.float32(0)
    for column in range(len(counts)):
        total += counts[column]
    for column in range(len(counts)):
        out[column] = np.log(counts[column] / total)


@inner
def answered(counts: Any, successors: Any, rest: Any, frequencies: Any, newest: int, out: Any) -> None:
    """Log-probabilities ``[2, columns]`` into ``out``: what follows the column ``newest``, or -1; and how frequent each is."""
    columns = len(frequencies)
    log_shares(frequencies, out[1])
    if newest < 0:
        out[0] = out[1]
    elif not len(rest):
        log_shares(counts[newest], out[0])
    else:
        follows = np.empty(columns, np.float32)
        follows[:] = rest[newest] / np.float32(columns)
        for place in range(counts.shape[1]):
            follows[successors[newest, place]] += counts[newest, place]
        log_shares(follows, out[0])


@kernel(F2, I2, F1, F1, INT)
def answers(counts: Any, successors: Any, rest: Any, frequencies: Any, newest: int) -> Any:
    """Log-probabilities ``[2, columns]``: what follows the column ``newest``, or -1; and how frequent each is."""
    out = np.empty((2, len(frequencies)), np.float32)
    answered(counts, successors, rest, frequencies, newest, out)
    return out


@inner
def slot_of(counts: Any, successors: Any, rest: Any, after: int) -> int:
    """Where a successor is counted in one row of counts; one that is not yet takes the place of the least counted."""
    least = 0
    for slot in range(len(successors)):
        if successors[slot] == after:
            return slot
        if counts[slot] < counts[least]:
            least = slot
    rest[0] += counts[least]
    counts[least] = 0
    successors[least] = after
    return least


@inner
def count(labels: Any, before: int, after: int, kept: Any) -> None:
    """Counts a transition between columns, unless either is less than 0; of those from the same column ``kept`` stays."""
    counts, successors, rest = labels[0], labels[1], labels[2]
    if before < 0 or after < 0:
        return
    row = counts[before]
    for place in range(len(row)):
        row[place] *= kept
    if len(rest):
        rest[before] *= kept
        row[slot_of(row, successors[before], rest[before : before + 1], after)] += 1
    else:
        row[after] += 1


@inner
def follow(columns: Any, labels: Any, rate: Any, least: Any) -> None:
    """Takes labels in, by their ``columns`` ``[rows]``, in their order: running frequencies, the newest, and how many."""
    _, _, _, frequencies, newest, learned = labels
    kept = np.float32(1) - rate
    for column in columns:
        for each in range(len(frequencies)):
            frequencies[each] *= kept
        frequencies[column] += rate
    for each in range(len(frequencies)):
        frequencies[each] = least if frequencies[each] < least else frequencies[each]
    newest[()] = columns[-1]
    learned[()] += len(columns)

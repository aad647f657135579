"""Boosted trees: what they answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import F1, F2, F3, I2, inner, kernel

TREES = types.Tuple((I2, F2, F3, F1))
"""Features, cuts, values and base, as :class:`driftline.networks.experts.trees.Trees` has them."""


@inner
def leaf_of(row: Any, features: Any, cuts: Any, tree: int) -> int:
    """The leaf of a row ``[features]`` in one tree of ``features`` and ``cuts`` ``[nodes, trees]``."""
    nodes = len(features)
    node = 0
    while node < nodes:
        node = 2 * node + (2 if row[features[node, tree]] > cuts[node, tree] else 1)
    return node - nodes


@inner
def add_sums(rows: Any, features: Any, cuts: Any, values: Any, out: Any) -> None:
    """``out`` ``[batch, outputs]`` grows by what the trees add up to for rows ``[batch, features]``."""
    outputs = values.shape[2]
    for row in range(len(rows)):
        for tree in range(len(values)):
            leaf = leaf_of(rows[row], features, cuts, tree)
            for output in range(outputs):
                out[row, output] += values[tree, leaf, output]


@kernel(F2, I2, F2, F3)
def sums(rows: Any, features: Any, cuts: Any, values: Any) -> Any:
    """What the trees add up to for rows ``[batch, features]``: ``[batch, outputs]``."""
    out = np.zeros((len(rows), values.shape[2]), np.float32)
    add_sums(rows, features, cuts, values, out)
    return out

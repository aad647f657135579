"""Boosted trees: what they answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftline.networks.kernels.compiled import D1, D2, DOUBLE, F2, F3, I2, INT, inner, kernel


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


@kernel(F2, I2, F2, INT)
def leaves(rows: Any, features: Any, cuts: Any, tree: int) -> Any:
    """The leaf of each row in one tree ``[batch]``."""
    found = np.empty(len(rows), np.int64)
    for row in range(len(rows)):
        found[row] = leaf_of(rows[row], features, cuts, tree)
    return found


LEAST_GAIN = 1e-6
MAX_SORTED = 200
"""Quantiles of so many rows or up to twice as many tell enough."""
NEVER = np.finfo(np.float32).max


@inner
def quantiles(values: Any, bins: int) -> Any:
    """The edges between the bins of each feature ``[features, bins - 1]``, of values ``[features, rows]``."""
    features, rows = values.shape
    step = max(1, rows // MAX_SORTED)
    count = (rows + step - 1) // step
    edges, some = np.empty((features, bins - 1), np.float32), np.empty(count, np.float32)
    for feature in range(features):
        for row in range(count):
            some[row] = values[feature, row * step]
        some.sort()
        for edge in range(1, bins):
            edges[feature, edge - 1] = some[edge * count // bins]
    return edges


@inner
def binned(values: Any, edges: Any) -> Any:
    """Which bin each number is in, of values ``[features, rows]``: beyond so many edges."""
    codes = np.zeros(values.shape, np.uint8)
    for feature in range(len(values)):
        own, found = values[feature], codes[feature]
        # A comparison of all numbers with an edge is one of many at once; to search for each number's bin is not.
        for edge in range(edges.shape[1]):
            cut = edges[feature, edge]
            for row in range(len(own)):
                found[row] += np.uint8(1) if own[row] > cut else np.uint8(0)
    return codes


@inner
def turned(values: Any) -> Any:
    """``[rows, features]`` → ``[features, rows]``."""
    rows, features = values.shape
    out = np.empty((features, rows), np.float32)
    for row in range(rows):
        for feature in range(features):
            out[feature, row] = values[row, feature]
    return out


@inner
def add_level(codes: Any, node: Any, gradient: Any, weights: Any, histogram: Any) -> None:
    """Adds rows, of codes ``[features, rows]``, to the ``histogram`` ``[features, nodes, bins, 1 + sums]`` of their nodes."""
    features, rows = codes.shape
    bins, parts = np.uint64(histogram.shape[2]), np.uint64(histogram.shape[3])
    # Feature by feature: what is added to then stays near. Numbers without a sign need no look at whether they are less than 0.
    first = np.empty(rows, np.uint64)
    for row in range(rows):
        first[row] = np.uint64(node[row]) * bins
    for feature in range(features):
        own, code = histogram[feature].reshape(-1), codes[feature]
        for row in range(rows):
            place = (first[row] + np.uint64(code[row])) * parts
            own[place] += weights[row]
            for part in range(gradient.shape[1]):
                own[place + np.uint64(1 + part)] += gradient[row, part]


@inner
def fit(sums: Any) -> Any:
    """By how much the loss of rows falls, twice, with a value of their own; ``sums``: their weight and their gradients'."""
    total = 0.0
    for i in range(1, len(sums)):
        total += sums[i] * sums[i]
    return total / (sums[0] + 1)


@inner
def best(histogram: Any, min_leaf: float) -> tuple[int, int, bool]:
    """The best feature and bin of one node, and whether it pays to go right beyond it.

    ``histogram`` ``[features, bins, 1 + sums]`` of one node: the weight of the rows, and the sums of their gradients.
    """
    features, bins, parts = histogram.shape
    total, left, right = np.zeros(parts), np.empty(parts), np.empty(parts)
    for code in range(bins):
        total += histogram[0, code]
    most, place, bin_ = -np.inf, 0, 0
    for feature in range(features):
        left[:] = 0
        for code in range(bins):
            for part in range(parts):
                left[part] += histogram[feature, code, part]
                right[part] = total[part] - left[part]
            if left[0] >= min_leaf and right[0] >= min_leaf:
                gain = fit(left) + fit(right)
                if gain > most:
                    most, place, bin_ = gain, feature, code
    return place, bin_, most > fit(total) + LEAST_GAIN


@kernel(F2, D2, D1, INT, DOUBLE, INT)
def split(values: Any, gradient: Any, weights: Any, bins: int, min_leaf: float, depth: int) -> tuple[Any, Any]:
    """A tree's questions: the place of the feature and the cut of each inner node, ``NEVER`` where none pays.

    Args:
        values: ``[rows, features]``.
        gradient: ``[rows, sums]``, weighted.
        weights: ``[rows]``.
        bins: parts between quantiles, 256 at most.
        min_leaf: the weight of either side at least.
        depth: of the tree, which has ``2**depth - 1`` inner nodes.
    """
    rows, features = values.shape
    parts = 1 + gradient.shape[1]
    by_feature = turned(values)
    edges = quantiles(by_feature, bins)
    codes = binned(by_feature, edges)
    inner_nodes = 2**depth - 1
    places, cuts = np.zeros(inner_nodes, np.int64), np.full(inner_nodes, NEVER, np.float32)
    node = np.zeros(rows, np.int64)
    for level in range(depth):
        nodes = 2**level
        histogram = np.zeros((features, nodes, bins, parts))
        add_level(codes, node, gradient, weights, histogram)
        for number in range(nodes):
            place, code, pays = best(histogram[:, number], min_leaf)
            if pays:
                places[nodes - 1 + number] = place
                cuts[nodes - 1 + number] = edges[place, min(code, bins - 2)]
        for row in range(rows):
            here = nodes - 1 + node[row]
            node[row] = 2 * node[row] + (1 if by_feature[places[here], row] > cuts[here] else 0)
    return places, cuts

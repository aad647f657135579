"""Boosted trees: how they are grown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import DOUBLE, F1, F2, F3, FLAG, I1, INT, inner, kernel
from driftline.networks.kernels.elementary import log_softmax
from driftline.networks.kernels.trees import TREES, leaf_of

ZERO, ONE = np.float32(0), np.float32(1)
NEVER = np.finfo(np.float32).max
CHOSEN = np.float32(0.8)
"""Where there are few rows, most count; never the same ones."""
KEPT_IMPORTANCE = np.float32(0.97)
LEAST_GAIN = 1e-6
MAX_SORTED = 200
"""Quantiles of so many rows or up to twice as many tell enough."""


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
def turned(rows: Any, chosen: Any, features: Any) -> Any:
    """The ``features`` of ``chosen`` rows: ``[rows, features]`` → ``[features, rows]``."""
    out = np.empty((len(features), len(chosen)), np.float32)
    for row in range(len(chosen)):
        own = rows[chosen[row]]
        for place in range(len(features)):
            out[place, row] = own[features[place]]
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
    if total[0] < 2 * min_leaf:
        return 0, 0, False
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


@inner
def split(values: Any, gradient: Any, weights: Any, bins: int, min_leaf: float, places: Any, cuts: Any) -> None:
    """A tree's questions: the place of the feature and the cut of each inner node, ``NEVER`` where none pays.

    Args:
        values: ``[features, rows]``.
        gradient: ``[rows, sums]``, weighted, float64.
        weights: ``[rows]``, float64.
        bins: parts between quantiles, 256 at most.
        min_leaf: the weight of either side at least.
        places: ``[inner nodes]``, into which the places come; there are 2**depth - 1 of them. ``cuts`` the same.
    """
    features, rows = values.shape
    edges = quantiles(values, bins)
    codes = binned(values, edges)
    node = np.zeros(rows, np.int64)
    places[:], cuts[:] = 0, NEVER
    nodes = 1
    while nodes <= len(places):
        histogram = np.zeros((features, nodes, bins, 1 + gradient.shape[1]))
        add_level(codes, node, gradient, weights, histogram)
        for number in range(nodes):
            parent = (nodes - 2 + number) // 2
            # What did not pay for a node does not pay for its child, which has the same rows or none.
            if nodes > 1 and cuts[parent] == NEVER:
                continue
            place, code, pays = best(histogram[:, number], min_leaf)
            if pays:
                places[nodes - 1 + number] = place
                cuts[nodes - 1 + number] = edges[place, min(code, bins - 2)]
        for row in range(rows):
            here = nodes - 1 + node[row]
            node[row] = 2 * node[row] + (1 if values[places[here], row] > cuts[here] else 0)
        nodes *= 2


@inner
def chosen_rows(drawn: Any) -> Any:
    """The rows that a tree is split by, of numbers at random ``[rows]``: all, where none of the first few was drawn."""
    chosen, count = np.empty(len(drawn), np.int64), 0
    for row in range(len(drawn)):
        if drawn[row] < CHOSEN:
            chosen[count] = row
            count += 1
    return chosen[:count] if count else np.arange(len(drawn))


@inner
def drawn_features(importance: Any, drawn: Any, count: int) -> Any:
    """The features that a tree may ask for, drawn without replacement by their importance, and by as much for any.

    ``drawn`` ``[features]`` are numbers at random; where there are none, it may ask for all.
    """
    if not len(drawn):
        return np.arange(len(importance))
    keys, mean = np.empty(len(drawn)), 0.0
    for feature in range(len(drawn)):
        mean += importance[feature] / len(drawn)
    for feature in range(len(drawn)):
        noise = -math.log(-math.log(max(drawn[feature], 1e-12)))
        keys[feature] = math.log(importance[feature] + mean + 1e-6) + noise
    least, found, filled = np.sort(keys)[-count], np.empty(count, np.int64), 0
    for feature in range(len(drawn)):
        if keys[feature] >= least and filled < count:
            found[filled] = feature
            filled += 1
    return found


@inner
def sketched(gradient: Any, chosen: Any, sketch: Any) -> Any:
    """Few sums ``[chosen, sums]`` of the gradients of all outputs ``[rows, outputs]``, by a ``sketch`` ``[outputs, sums]``."""
    found = np.zeros((len(chosen), sketch.shape[1]))
    for row in range(len(chosen)):
        for output in range(len(sketch)):
            for part in range(sketch.shape[1]):
                found[row, part] += np.float64(gradient[chosen[row], output]) * sketch[output, part]
    return found


@inner
def errors(
    sums: Any, base: Any, columns: Any, values: Any, weights: Any, is_regression: bool, gradient: Any, curvature: Any
) -> None:
    """Less the gradient, and the curvature, of each row's loss ``[rows, outputs]``: the cross entropy, or the Huber loss."""
    rows, outputs = sums.shape
    for row in range(rows):
        own, bend = gradient[row], curvature[row]
        for output in range(outputs):
            own[output] = sums[row, output] + base[output]
        if is_regression:
            for output in range(outputs):
                own[output] = max(-ONE, min(ONE, values[row, output] - own[output])) * weights[row]
                bend[output] = weights[row]
        else:
            log_softmax(own)
            for output in range(outputs):
                chance = np.float32(math.exp(own[output]))
                bend[output] = chance * (ONE - chance) * weights[row]
                own[output] = ((ONE if output == columns[row] else ZERO) - chance) * weights[row]


@inner
def begin_base(columns: Any, values: Any, weights: Any, is_regression: bool, base: Any) -> None:
    """Where the sum begins ``[outputs]``: the logits of how frequent classes are in a window, or the mean of its values."""
    found = np.zeros(len(base)) if is_regression else np.ones(len(base))
    for row in range(len(weights)):
        if is_regression:
            for output in range(len(base)):
                found[output] += np.float64(weights[row]) * values[row, output]
        else:
            found[columns[row]] += weights[row]
    total = np.sum(weights.astype(np.float64)) if is_regression else np.sum(found)
    for output in range(len(base)):
        base[output] = found[output] / total if is_regression else math.log(found[output] / total)


@inner
def step(gradient: Any, curvature: Any, leaves: Any, paces: Any, values: Any) -> None:
    """What each leaf adds ``[leaves, outputs]`` into ``values``: a step of Newton's, for the rows in each of the ``leaves``."""
    rate, penalty, largest, _ = paces
    bend = np.full(values.shape, np.float32(penalty))
    values[:] = ZERO
    for row in range(len(leaves)):
        for output in range(values.shape[1]):
            values[leaves[row], output] += gradient[row, output]
            bend[leaves[row], output] += curvature[row, output]
    for leaf in range(len(values)):
        for output in range(values.shape[1]):
            pace = values[leaf, output] / bend[leaf, output] * np.float32(rate)
            values[leaf, output] = max(-np.float32(largest), min(np.float32(largest), pace))


@inner
def find_leaves(place: int, rows: Any, trees: Any, leaves: Any) -> None:
    """The leaf of each row in one tree into ``leaves`` ``[rows]``."""
    for row in range(len(rows)):
        leaves[row] = leaf_of(rows[row], trees[0], trees[1], place)


@inner
def add_leaves(sign: Any, values: Any, leaves: Any, sums: Any) -> None:
    """``sums`` ``[rows, outputs]`` change by the ``values`` of each row's leaf, ``sign`` times."""
    for row in range(len(leaves)):
        for output in range(sums.shape[1]):
            sums[row, output] += sign * values[leaves[row], output]


@inner
def ask(place: int, questions: Any, found: Any, trees: Any, importance: Any) -> None:
    """Gives a tree its ``questions`` ``[nodes]``, which are features, with the cuts that were ``found`` for them.

    A split counts for the ``importance`` ``[features]`` of its feature; a half of one a level above.
    """
    features, cuts, _, _ = trees
    for feature in range(len(importance)):
        importance[feature] *= KEPT_IMPORTANCE
    share, level_end = ONE, 1
    for node in range(len(questions)):
        if node == level_end:
            share, level_end = share / np.float32(2), 2 * level_end + 1
        features[node, place], cuts[node, place] = questions[node], found[node]
        if found[node] < NEVER:
            importance[questions[node]] += share


WINDOW = types.Tuple((F2, F1, I1, F2))
"""Rows as they came ``[rows, features]``, how much each counts, their columns, or values ``[rows, outputs]``."""
PACES = types.Tuple((DOUBLE, DOUBLE, DOUBLE, DOUBLE))
"""How far a leaf goes at once, what holds it back, the most it adds, and the weight of the rows in it at least."""


@kernel(WINDOW, FLAG, TREES, F2, F1, INT, F2, F3, INT, INT, PACES)
def grow(
    window: Any,
    is_regression: bool,
    trees: Any,
    sums: Any,
    importance: Any,
    grown: int,
    drawn: Any,
    sketches: Any,
    asked: int,
    bins: int,
    paces: Any,
) -> None:
    """Puts new trees in the places of the oldest, one after the other.

    Args:
        is_regression: whether the values of the window are learned, and not its columns.
        sums: ``[rows, outputs]``, what the trees say of each row.
        importance: ``[features]``, how often each was split of late.
        grown: how many trees were grown before.
        drawn: ``[new trees, features + rows]`` at random from 0 to 1: what each may ask for, and by which rows it is split;
            of rows alone, where each may ask for all features.
        sketches: ``[new trees, outputs, sums]``, the sums of gradients that each is split by.
        asked: features that a tree may ask for. ``bins``: parts of each, between quantiles.
    """
    rows, weights, columns, targets = window
    features, _, values, base = trees
    gradient, curvature = np.empty(sums.shape, np.float32), np.empty(sums.shape, np.float32)
    places, found = np.empty(len(features), np.int64), np.empty(len(features), np.float32)
    leaves, own_features = np.empty(len(rows), np.int64), drawn.shape[1] - len(rows)
    begin_base(columns, targets, weights, is_regression, base)
    for number in range(len(drawn)):
        place = (grown + number) % len(values)
        if grown + number >= len(values):
            find_leaves(place, rows, trees, leaves)
            add_leaves(-ONE, values[place], leaves, sums)
        errors(sums, base, columns, targets, weights, is_regression, gradient, curvature)
        some = drawn_features(importance, drawn[number, :own_features], asked)
        chosen = chosen_rows(drawn[number, own_features:])
        own, sketch = weights[chosen].astype(np.float64), sketched(gradient, chosen, sketches[number])
        split(turned(rows, chosen, some), sketch, own, bins, paces[3], places, found)
        ask(place, some[places], found, trees, importance)
        find_leaves(place, rows, trees, leaves)
        step(gradient, curvature, leaves, paces, values[place])
        add_leaves(ONE, values[place], leaves, sums)

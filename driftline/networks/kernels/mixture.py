"""A row or a batch answered by all members of a mixture, and mixed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels import bank as banks
from driftline.networks.kernels import labels as of_labels
from driftline.networks.kernels import neighbours as near
from driftline.networks.kernels import trees as boosted
from driftline.networks.kernels.compiled import F0, F1, F2, F3, FLOAT, INT, inner, kernel
from driftline.networks.kernels.elementary import log_softmax
from driftline.networks.kernels.encoding import encoded_rows
from driftline.networks.kernels.ridge import heads_answered, projected

ENCODING = types.Tuple((F1, F1))
RIDGE = types.Tuple((F2, F1, F3))
BANK = types.Tuple((F3, F3, F3, F3, F0))
ZERO, INFINITY = np.float32(0), np.float32(np.inf)
# What marks the newest label in a trace, and stands where there was no column yet (:mod:`driftline.networks.experts.traces`).
NEWEST_TAG, UNKNOWN = np.float32(1024), np.float32(-16)


@inner
def trees_answered(row: Any, trees: Any, out: Any) -> None:
    """Log-probabilities ``[columns]`` into ``out``, of one row ``[1, features]``; of too many columns even ones."""
    features, cuts, values, base = trees
    out[:] = ZERO
    if len(base):
        boosted.add_sums(row, features, cuts, values, out)
        for column in range(len(base)):
            out[0, column] += base[column]
    log_softmax(out[0])


@inner
def members_answered(
    rows: Any,
    binned: int,
    encoding: Any,
    trees: Any,
    ridge: Any,
    bank: Any,
    neighbours: Any,
    labels: Any,
    newest: int,
    out: Any,
) -> None:
    """Log-probabilities of all members but the network into ``out`` ``[batch, parts, columns]``."""
    centre, slope = encoding
    weight, phase, heads = ridge
    hidden, hidden_bias, output, output_bias, is_trained = bank
    features, columns = rows.shape[1], out.shape[2]
    encoded = encoded_rows(rows, centre, slope, binned)
    of_heads = np.empty((len(rows), len(heads), columns), np.float32)
    heads_answered(projected(encoded, weight, phase), heads, of_heads)
    of_bank = np.empty((len(hidden), len(rows), columns), np.float32)
    banks.answered(encoded, hidden, hidden_bias, output, output_bias, is_trained[()], of_bank)
    of_all = np.empty((2, columns), np.float32)
    of_labels.answered(labels[0], labels[1], labels[2], labels[3], newest, of_all)
    of_near = np.empty((len(rows), len(neighbours[5]), columns), np.float32)
    near.answered(encoded[:, :features], neighbours, of_near)
    has_trees = 1 if len(trees[0]) else 0
    found = np.empty((out.shape[1], columns), np.float32)
    for row in range(len(rows)):
        if has_trees:
            trees_answered(rows[row : row + 1], trees, found[:1])
        place = has_trees
        found[place : place + len(heads)] = of_heads[row]
        place += len(heads)
        for member in range(len(hidden)):
            found[place] = of_bank[member, row]
            log_softmax(found[place])
            place += 1
        found[place : place + len(neighbours[5])] = of_near[row]
        place += len(neighbours[5])
        found[place : place + 2] = of_all
        out[row, : place + 2] = found[: place + 2]


@inner
def sets_mixed(weights: Any, trace: Any, out: Any) -> None:
    """What each set of weights makes of one trace: log-probabilities ``[sets, width]`` into ``out``."""
    for number in range(len(weights)):
        out[number] = ZERO
        for member in range(weights.shape[1]):
            share = weights[number, member]
            for column in range(out.shape[1]):
                out[number, column] += share * trace[member, column]
        log_softmax(out[number])


@inner
def mixed(trace: Any, weights: Any, trust: Any, out: Any) -> None:
    """Traces ``[batch, parts, width]`` → logits ``[batch, width]`` into ``out``."""
    each = np.empty((len(weights), trace.shape[2]), np.float32)
    for row in range(len(trace)):
        sets_mixed(weights, trace[row], each)
        for column in range(out.shape[1]):
            total = ZERO
            for number in range(len(weights)):
                total += trust[number] * each[number, column]
            out[row, column] = total


@kernel(F2, F2, INT, ENCODING, boosted.TREES, RIDGE, BANK, near.NEIGHBOURS, of_labels.LABELS, INT, F1, F2, F1, FLOAT)
def answer(
    rows: Any,
    network: Any,
    binned: int,
    encoding: Any,
    trees: Any,
    ridge: Any,
    bank: Any,
    neighbours: Any,
    labels: Any,
    newest: int,
    tags: Any,
    weights: Any,
    trust: Any,
    floor: Any,
) -> tuple[Any, Any]:
    """The answer of a mixture whose classes all have a column.

    Args:
        rows: ``[batch, features]``, of which the first ``binned`` have bins.
        network: log-probabilities ``[batch, columns]`` of the network; where it is no member, ``[batch, 0]``.
        tags: of the columns ``[columns]``; ``NEWEST_TAG`` comes on top of that of the newest label.
        weights: ``[sets, members]``. ``trust`` ``[sets]``.
        newest: the column of the newest label that is known, or -1.
        floor: the least log-probability.

    The others are the arrays of the members.

    Returns:
        Logits ``[batch, columns]``, and the trace ``[batch, members + 1, columns]``.
    """
    count, columns = weights.shape[1], len(tags)
    even = -np.float32(math.log(columns))
    trace, out = np.empty((len(rows), count + 1, columns), np.float32), np.empty((len(rows), columns), np.float32)
    members_answered(rows, binned, encoding, trees, ridge, bank, neighbours, labels, newest, trace)
    for row in range(len(rows)):
        if network.shape[1]:
            trace[row, count - 1] = network[row]
        for member in range(count):
            for column in range(columns):
                # A member that gives no number says nothing.
                value = trace[row, member, column]
                trace[row, member, column] = max(value, floor) if value < INFINITY else even
        trace[row, count] = tags
        if newest >= 0:
            trace[row, count, newest] += NEWEST_TAG
    mixed(trace, weights, trust, out)
    return out, trace


@kernel(F3, F2, F1)
def mix(trace: Any, weights: Any, trust: Any) -> Any:
    """A trace ``[batch, members + 1, width]`` → logits ``[batch, width]``."""
    out = np.empty((len(trace), trace.shape[2]), np.float32)
    mixed(trace, weights, trust, out)
    return out


@kernel(F3, F2)
def mix_each(trace: Any, weights: Any) -> Any:
    """What each set of weights makes of a trace: log-probabilities ``[batch, sets, width]``."""
    out = np.empty((len(trace), len(weights), trace.shape[2]), np.float32)
    for row in range(len(trace)):
        sets_mixed(weights, trace[row], out[row])
    return out

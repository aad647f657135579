"""A row or a batch answered by all members of a regression's mixture, and mixed; and how linear ones learn from answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels import bank as banks
from driftline.networks.kernels import neighbours as near
from driftline.networks.kernels import trees as boosted
from driftline.networks.kernels.compiled import D2, DOUBLE, F1, F2, F3, FLAG, I0, I1, INT, inner, kernel
from driftline.networks.kernels.encoding import LIMIT, encode_part, encoded_rows
from driftline.networks.kernels.least_squares import SUMS, add_rows, follow_noise, solve_heads
from driftline.networks.kernels.levels import D3, FARTHEST, LAGS, LEVELS, UNIT, believed, clipped, told_by, with_lags
from driftline.networks.kernels.linear import add_product
from driftline.networks.kernels.mixture import BANK, ENCODING
from driftline.networks.kernels.ridge import projected

FEATURES = types.Tuple((F2, F1, DOUBLE, DOUBLE, FLAG))
"""Weight and phase of random features, how large these are, how much the encoding counts beside them, and whether it does."""
NEIGHBOURS = types.Tuple((F2, F1, F2, I0, F2, I1, F2))
"""Rows, norms, targets, how many were seen, shifts, kinds, votes."""
LEAST_SERVED = np.float32(0.01)
"""A member of less weight is left out of an answer, so that one that is right can take all of it."""


@inner
def featured(encoded: Any, features: Any) -> Any:
    """Random features of encoded rows ``[batch, width]``, the encoding, and a constant: ``[batch, features + 1]``."""
    weight, phase, amplitude, of_encoding, has_encoding = features
    units, width = len(phase), encoded.shape[1] if has_encoding else 0
    random = projected(encoded, weight, phase)
    out = np.empty((len(encoded), units + width + 1), np.float32)
    for row in range(len(encoded)):
        for unit in range(units):
            out[row, unit] = random[row, unit] * np.float32(amplitude)
        for i in range(width):
            out[row, units + i] = encoded[row, i] * np.float32(of_encoding)
        out[row, units + width] = np.float32(1)
    return out


@kernel(F2, FEATURES)
def feature(encoded: Any, features: Any) -> Any:
    """:func:`featured`."""
    return featured(encoded, features)


@inner
def heads_of(features: Any, heads: Any, out: Any) -> None:
    """Values ``[heads, outputs]`` into ``out``, of one row's ``features``; both float64."""
    for head in range(len(heads)):
        for output in range(heads.shape[2]):
            total = 0.0
            for i in range(len(features)):
                total += features[i] * heads[head, i, output]
            out[head, output] = total


@inner
def neighbours_answered(scores: Any, neighbours: Any, unit: Any, out: Any) -> None:
    """Means of the values of the nearest rows ``[batch, members, outputs]`` into ``out``, of z-scores ``[batch, features]``."""
    rows, norms, targets, seen_so_far, shifts, kinds, votes = neighbours
    _, _, low, high = unit
    size, seen = len(rows), seen_so_far[()]
    filled = min(seen, size)
    if not filled:
        out[:] = np.nan
        return
    shape = (len(kinds), min(votes.shape[1], filled))
    weights, slots = np.empty(shape, np.float32), np.empty(shape, np.int64)
    away = near.products(scores, rows, filled)
    for row in range(len(scores)):
        near.votes_of(scores[row], away[row], norms, -seen % size, shifts, kinds, votes, weights, slots)
        for member in range(len(kinds)):
            for output in range(targets.shape[1]):
                total = 0.0
                for place in range(shape[1]):
                    value = np.float64(targets[slots[member, place], output])
                    total += weights[member, place] * min(max(value, low[output]), high[output])
                out[row, member, output] = total


@inner
def restore(values: Any, unit: Any) -> None:
    """Brings values ``[members, outputs]`` from the unit into the target's own."""
    centre, scale, _, _ = unit
    for member in range(len(values)):
        for output in range(len(centre)):
            values[member, output] = values[member, output] * scale[output] + centre[output]


@inner
def sets_mixed(trace: Any, weights: Any, out: Any) -> None:
    """What each set of weights ``[outputs, sets, members]`` makes of one trace ``[parts, outputs]``: ``[outputs, sets]``.

    Where those that have weight know nothing, all others speak; where nobody does, there has been no label.
    """
    outputs, sets, members = weights.shape
    for output in range(outputs):
        of_others, others = 0.0, 0
        for member in range(members):
            if np.isfinite(trace[member, output]):
                of_others += trace[member, output]
                others += 1
        for number in range(sets):
            heard, total = 0.0, 0.0
            for member in range(members):
                weight, value = weights[output, number, member], trace[member, output]
                if weight >= LEAST_SERVED and np.isfinite(value):
                    heard += weight
                    total += np.float64(weight) * np.float64(value)
            out[output, number] = total / heard if heard > 0 else of_others / max(others, 1)


@inner
def mixed(trace: Any, weights: Any, trust: Any, out: Any) -> None:
    """Traces ``[batch, parts, outputs]`` → values ``[batch, outputs]`` into ``out``; ``trust`` ``[outputs, sets]``.

    What each set of weights answers becomes the last parts of the traces.
    """
    (outputs, sets), parts = trust.shape, trace.shape[1]
    each = np.empty(trust.shape)
    for row in range(len(trace)):
        sets_mixed(trace[row], weights, each)
        for output in range(outputs):
            total = 0.0
            for number in range(sets):
                trace[row, parts - sets + number, output] = each[output, number]
                total += each[output, number] * trust[output, number]
            out[row, output] = total


@kernel(F2, F2, INT, ENCODING, FEATURES, F3, BANK, NEIGHBOURS, boosted.TREES, D3, D3, LEVELS, UNIT, F3, F2, FLAG)
def answer(
    rows: Any,
    network: Any,
    binned: int,
    encoding: Any,
    features: Any,
    encoded_heads: Any,
    bank: Any,
    neighbours: Any,
    trees: Any,
    linear: Any,
    autoregressive: Any,
    levels: Any,
    unit: Any,
    weights: Any,
    trust: Any,
    in_order: bool,
) -> tuple[Any, Any]:
    """The answer of a regression's mixture.

    Args:
        rows: ``[batch, features]``, of which the first ``binned`` have bins. ``network`` ``[batch, outputs]``, its values.
        encoded_heads: on random features ``[heads, features, outputs]``. ``linear`` and ``autoregressive``: of z-scores,
            and of these with the last labels; where there are none, without a number.
        weights: ``[outputs, sets, members]``. ``trust`` ``[outputs, sets]``.
        in_order: whether the rows come after the newest label that is known, and not from some time before it.

    The others are the arrays of the members.

    Returns:
        Values ``[batch, outputs]``, and the trace ``[batch, members + lags + sets, outputs]``.
    """
    (batch, count), outputs, members = rows.shape, network.shape[1], weights.shape[2]
    _, scale, low, high = unit
    encoded = encoded_rows(rows, encoding[0], encoding[1], binned)
    every = featured(encoded, features)
    of_heads = np.zeros((len(encoded_heads), batch, outputs), np.float32)
    for head in range(len(encoded_heads)):
        add_product(every, encoded_heads[head], of_heads[head])
    of_bank = np.empty((len(bank[0]), batch, outputs), np.float32)
    banks.answered(encoded, bank[0], bank[1], bank[2], bank[3], bank[4][()], of_bank)
    of_near = np.empty((batch, len(neighbours[5]), outputs))
    neighbours_answered(encoded[:, :count], neighbours, unit, of_near)
    of_labels, lags = np.empty((1 + len(levels[1]), outputs)), np.empty(levels[0].shape)
    told_by(levels, in_order, of_labels, lags)
    for output in range(outputs):
        for member in range(len(of_labels)):
            of_labels[member, output] = believed(of_labels[member, output], low[output], high[output])
        for lag in range(len(lags)):
            lags[lag, output] = believed(lags[lag, output], low[output], high[output])
    found, of_trees = np.empty((members, outputs)), np.zeros((1, outputs), np.float32)
    with_levels, of_row = np.empty(count + lags.size + 1), np.ones(count + 1)
    trace = np.empty((batch, members + len(lags) + weights.shape[1], outputs), np.float32)
    out = np.empty((batch, outputs), np.float32)
    for row in range(batch):
        place = len(autoregressive)
        if place:
            with_lags(encoded[row, :count], lags, unit, with_levels)
            heads_of(with_levels, autoregressive, found[:place])
            for head in range(place):
                for output in range(outputs):
                    value = lags[0, output] + found[head, output] * scale[output]
                    found[head, output] = believed(value, low[output], high[output])
        found[place : place + len(of_labels)] = of_labels
        first = place = place + len(of_labels)
        for head in range(len(of_heads)):
            found[place] = of_heads[head, row]
            place += 1
        for member in range(len(of_bank)):
            found[place] = of_bank[member, row]
            place += 1
        restore(found[first:place], unit)
        found[place : place + of_near.shape[1]] = of_near[row]
        place += of_near.shape[1]
        first = place
        if len(trees[0]):
            of_trees[0] = trees[3]
            boosted.add_sums(rows[row : row + 1], trees[0], trees[1], trees[2], of_trees)
            found[place] = of_trees[0]
            place += 1
        of_row[:count] = encoded[row, :count]
        heads_of(of_row, linear, found[place : place + len(linear)])
        place += len(linear)
        restore(found[first:place], unit)
        found[place] = network[row]
        for member in range(len(autoregressive) + len(of_labels), members):
            for output in range(outputs):
                value = found[member, output]
                found[member, output] = np.nan if np.isinf(value) else min(max(value, low[output]), high[output])
                if np.isnan(value):
                    found[member, output] = value
        trace[row, :members] = found
        trace[row, members : members + len(lags)] = lags
    mixed(trace, weights, trust, out)
    return out, trace


@kernel(F2, F3, D2, F1, INT, ENCODING, UNIT, SUMS, D3, FLAG, DOUBLE)
def learn_differences(
    rows: Any,
    traces: Any,
    targets: Any,
    weights: Any,
    members: int,
    encoding: Any,
    unit: Any,
    sums: Any,
    errors: Any,
    has_errors: bool,
    robust: float,
) -> None:
    """Takes labels ``[rows, outputs]`` into the sums of the members that foresee the difference to the last one, and solves.

    Args:
        rows: ``[rows, features]``, as they came. ``weights`` ``[rows]``.
        traces: ``[rows, members + lags + sets, outputs]``, with the labels that were the last known when these were answered.
        errors: running errors of the members, of which these are the first ones, if there are any yet.
        robust: so many of them a label counts for at most: one jump of the level is no rule for the next ones.

    The others are as :func:`driftline.networks.kernels.least_squares.learn` has them.
    """
    _, scale, low, high = unit
    kept, gram, moment, penalty, damping, heads = sums
    (batch, count), outputs = rows.shape, targets.shape[1]
    features, counted = np.empty((batch, gram.shape[1])), np.empty(batch, np.float32)
    steps = np.empty((len(gram), batch, outputs))
    scores, foreseen = np.empty(count, np.float32), np.empty((len(gram), outputs))
    known = 0
    for row in range(batch):
        encode_part(rows[row], encoding[0], encoding[1], np.uint64(0), np.uint64(count), LIMIT, scores)
        lags = traces[row, members : members + LAGS].astype(np.float64)
        with_lags(scores, lags, unit, features[known])
        if not np.isfinite(features[known]).all():
            continue
        if has_errors:
            heads_of(features[known], heads, foreseen)
        counted[known] = weights[row]
        for output in range(outputs):
            label = believed(targets[row, output], low[output], high[output])
            step = clipped((label - lags[0, output]) / scale[output], FARTHEST)
            for head in range(len(gram)):
                steps[head, known, output] = step
                if has_errors:
                    farthest = robust * (errors[output, errors.shape[1] - 1, head] / scale[output])
                    surprise = clipped(step - foreseen[head, output], farthest)
                    steps[head, known, output] = foreseen[head, output] + surprise
        known += 1
    if not known:
        return
    if has_errors:
        follow_noise(errors, 0, scale, penalty)
    add_rows(features[:known], steps[:, :known], counted[:known], kept, gram, moment)
    solve_heads(gram, moment, penalty, damping, heads)


@inner
def answers_of(traces: Any, weights: Any) -> Any:
    """What each set of weights makes of traces ``[rows, parts, outputs]``: ``[rows, outputs, sets]``."""
    out = np.empty((len(traces), weights.shape[0], weights.shape[1]))
    for row in range(len(traces)):
        sets_mixed(traces[row], weights, out[row])
    return out

"""How the weights of a mixture follow what was served."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftline.networks.kernels import labels as of_labels
from driftline.networks.kernels.compiled import DOUBLE, F1, F2, F3, FLOAT, I1, INT, inner, kernel
from driftline.networks.kernels.elementary import log_softmax
from driftline.networks.kernels.mixture import NEWEST_TAG, UNKNOWN, sets_mixed

ZERO, ONE, SMALLEST = np.float32(0), np.float32(1), np.float32(1e-9)


@inner
def answers_of(traces: Any, weights: Any) -> Any:
    """What each set of weights makes of traces: log-probabilities ``[rows, sets, width]``."""
    out = np.empty((len(traces), len(weights), traces.shape[2]), np.float32)
    for row in range(len(traces)):
        sets_mixed(weights, traces[row], out[row])
    return out


@inner
def slope_of(answers: Any, places: Any, shares: Any, trust: Any) -> Any:
    """The slope of the log loss of what is served by how sharp it is."""
    total = 0.0
    pooled, chances = np.empty(answers.shape[2], np.float32), np.empty(answers.shape[2], np.float32)
    for row in range(len(answers)):
        pooled[:] = ZERO
        for number in range(len(trust)):
            for column in range(len(pooled)):
                pooled[column] += trust[number] * answers[row, number, column]
        chances[:] = pooled
        log_softmax(chances)
        slope = -pooled[places[row]]
        for column in range(len(pooled)):
            slope += math.exp(chances[column]) * pooled[column]
        total += slope * shares[row]
    return total


@inner
def descend(
    traces: Any,
    answers: Any,
    places: Any,
    shares: Any,
    weights: Any,
    rates: Any,
    proportional: int,
    least: Any,
    sums: Any,
) -> None:
    """One step of each set of weights ``[sets, members]`` down the gradient of its log loss.

    In the first sets, so many as are ``proportional``, each weight is at ``least`` so large and moves in proportion to itself;
    in the others all move alike. What those of a set add up to is brought between its ``sums`` ``[sets, 2]``.
    """
    members = weights.shape[1]
    error, gradient = np.empty(traces.shape[2], np.float32), np.empty(members, np.float32)
    for number in range(len(weights)):
        gradient[:] = ZERO
        for row in range(len(traces)):
            for column in range(len(error)):
                error[column] = math.exp(answers[row, number, column])
            error[places[row]] -= ONE
            for member in range(members):
                slope = ZERO
                for column in range(len(error)):
                    slope += error[column] * traces[row, member, column]
                gradient[member] += slope * shares[row]
        total = ZERO
        for member in range(members):
            step, weight = -gradient[member] * rates[number], weights[number, member]
            if number < proportional:
                step = min(ONE, max(-ONE, step))
                weight = max(weight, least) * np.float32(math.exp(step))
            else:
                weight = max(weight + step, ZERO)
            weights[number, member] = weight
            total += weight
        bounded = min(max(total, sums[number, 0]), sums[number, 1])
        if bounded != total:
            for member in range(members):
                weights[number, member] *= bounded / max(total, SMALLEST)


@kernel(F3, I1, F1, F2, F1, INT, FLOAT, F2)
def remember(
    traces: Any, places: Any, shares: Any, weights: Any, rates: Any, proportional: int, least: Any, sums: Any
) -> None:
    """:func:`descend`, from what the weights make of the traces."""
    descend(traces, answers_of(traces, weights), places, shares, weights, rates, proportional, least, sums)


@inner
def newest_of(trace: Any) -> int:
    """The column of the newest label that was known when a trace ``[parts, width]`` was made; -1 where there was none."""
    tags = trace[len(trace) - 1]
    place = 0
    for column in range(1, len(tags)):
        if tags[column] > tags[place]:
            place = column
    return place if tags[place] >= NEWEST_TAG else -1


@inner
def known_place(trace: Any, place: int, others: int) -> int:
    """Where the members could have given a label; -1 where they could not, which is no fault of theirs.

    One whose class had not been seen when the trace was made was any other.
    """
    if trace[0, place] > UNKNOWN:
        return place
    return 0 if others and trace[0, 0] > UNKNOWN else -1


@kernel(
    *(F3, I1, F1, INT, of_labels.LABELS, FLOAT, F2, F1, F1, F1, INT, FLOAT, F2),
    *(DOUBLE, DOUBLE, DOUBLE, DOUBLE, DOUBLE, DOUBLE, FLOAT),
)
def follow(
    traces: Any,
    columns: Any,
    shares: Any,
    others: int,
    labels: Any,
    kept: Any,
    weights: Any,
    trust: Any,
    losses: Any,
    rates: Any,
    proportional: int,
    least: Any,
    sums: Any,
    sharpening: float,
    coolest: float,
    sharpest: float,
    fading: float,
    trusting: float,
    power: float,
    floor: Any,
) -> None:
    """Lets the weights, the trust in their sets and the counts of labels follow answers as they were served.

    Args:
        traces: ``[rows, members + 1, width]``. ``columns`` ``[rows]``, those of the labels; -1: none.
        shares: ``[rows]``, how much each counts; what counts nothing changes nothing.
        others: how many columns of a trace are of classes without one, in front.
        labels: the arrays of the labels. Of transitions from the same column the share ``kept`` stays.
        weights: ``[sets, members]``. ``trust`` and ``losses`` ``[sets]``.
        rates: ``[sets]``; ``proportional``, ``least`` and ``sums`` as in :func:`descend`.
        sharpening: how fast the sum of all trust is learned, which is between ``coolest`` and ``sharpest``.
        fading: how much of the losses stays per row. One unit of them counts ``trusting``.
        power: a batch of B rows moves the weights as B to this power single ones would.
        floor: the least log-probability that counts.
    """
    places, counted, rows = np.empty(len(traces), np.int64), np.empty(len(traces), np.float32), 0
    chosen = np.empty(len(traces), np.int64)
    total: Any = ZERO
    for row in range(len(traces)):
        if not shares[row] > ZERO:
            continue
        of_labels.count(labels, newest_of(traces[row]) - others, columns[row], kept)
        place = known_place(traces[row], columns[row] + others, others)
        if place >= 0:
            chosen[rows], places[rows], counted[rows] = row, place, shares[row]
            total += shares[row]
            rows += 1
    if not rows:
        return
    if rows < len(traces):
        some = np.empty((rows, traces.shape[1], traces.shape[2]), np.float32)
        for row in range(rows):
            some[row] = traces[chosen[row]]
        traces = some
    pace = rows ** (power - 1)
    stays = fading**total
    answers = answers_of(traces, weights)
    slope = slope_of(answers, places, counted, trust)
    step = min(1.0, max(-1.0, -(sharpening * pace) * slope))
    total = ZERO
    for number in range(len(trust)):
        total += trust[number]
    sharpness = np.float32(min(sharpest, max(coolest, total * math.exp(step))))
    for number in range(len(trust)):
        loss = losses[number] * np.float32(stays)
        for row in range(rows):
            loss -= max(answers[row, number, places[row]], floor) * counted[row]
        losses[number] = loss
        trust[number] = -np.float32(trusting) * loss
    log_softmax(trust)
    for number in range(len(trust)):
        trust[number] = math.exp(trust[number]) * sharpness
    paced = rates * np.float32(pace)
    descend(traces, answers, places, counted, weights, paced, proportional, least, sums)

"""How the weights of a mixture follow what was served."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftline.networks.kernels.compiled import DOUBLE, F1, F2, F3, FLOAT, I1, INT, inner, kernel
from driftline.networks.kernels.elementary import log_softmax
from driftline.networks.kernels.mixture import sets_mixed

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


@kernel(F3, I1, F1, F2, F1, F1, F1, INT, FLOAT, F2, DOUBLE, DOUBLE, DOUBLE, DOUBLE, DOUBLE, FLOAT)
def follow(
    traces: Any,
    places: Any,
    shares: Any,
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
    floor: Any,
) -> None:
    """Lets the weights and the trust in their sets follow answers as they were served.

    Args:
        traces: ``[rows, members + 1, width]``. ``places`` ``[rows]``, the columns of the labels.
        shares: ``[rows]``, how much each counts.
        weights: ``[sets, members]``. ``trust`` and ``losses`` ``[sets]``.
        rates: ``[sets]``; ``proportional``, ``least`` and ``sums`` as in :func:`descend`.
        sharpening: how fast the sum of all trust is learned, which is between ``coolest`` and ``sharpest``.
        fading: how much of the losses stays. One unit of them counts ``trusting``.
        floor: the least log-probability that counts.
    """
    answers = answers_of(traces, weights)
    step = min(1.0, max(-1.0, -sharpening * slope_of(answers, places, shares, trust)))
    total: Any = ZERO
    for number in range(len(trust)):
        total += trust[number]
    sharpness = np.float32(min(sharpest, max(coolest, total * math.exp(step))))
    for number in range(len(trust)):
        loss = losses[number] * np.float32(fading)
        for row in range(len(traces)):
            loss -= max(answers[row, number, places[row]], floor) * shares[row]
        losses[number] = loss
        trust[number] = -np.float32(trusting) * loss
    log_softmax(trust)
    for number in range(len(trust)):
        trust[number] = math.exp(trust[number]) * sharpness
    descend(traces, answers, places, shares, weights, rates, proportional, least, sums)

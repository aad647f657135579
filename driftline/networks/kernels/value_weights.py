"""How the weights of a regression's mixture follow what was served."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftline.networks.kernels.compiled import D1, D2, DOUBLE, F1, F2, F3, INT, inner, kernel
from driftline.networks.kernels.elementary import log_softmax
from driftline.networks.kernels.levels import D3, FARTHEST, UNIT, believed, clipped
from driftline.networks.kernels.values import answers_of

ONE, SMALLEST = np.float32(1), 1e-30
LARGEST_LOSS = 1e6
"""Of a set of weights that is so far behind the best one nothing more need be known."""


@inner
def follow_errors(values: Any, wanted: Any, counts: Any, farthest: Any, rates: Any, errors: Any) -> float:
    """Takes the mean errors of the members into ``errors`` ``[fadings, members]``.

    Gives the running error of the best of them, which is never 0.
    """
    total, best = 0.0, np.inf
    for row in range(len(counts)):
        total += counts[row]
    for member in range(values.shape[1]):
        mean = 0.0
        for row in range(len(counts)):
            mean += min(abs(values[row, member] - wanted[row]), farthest) * (counts[row] / total)
        for fading in range(len(errors)):
            errors[fading, member] += rates[fading] * (mean - errors[fading, member])
        best = min(best, errors[len(errors) - 1, member])
    return max(best, SMALLEST)


@inner
def descend(
    values: Any, answers: Any, wanted: Any, counts: Any, scale: Any, farthest: Any, rate: Any, share: Any, weights: Any
) -> None:
    """One step of a set of weights ``[members]`` down the gradient of its Huber loss, multiplicatively; and a fixed share."""
    members, total = len(weights), np.float32(0)
    for member in range(members):
        gradient = 0.0
        for row in range(len(counts)):
            pull = clipped((answers[row] - wanted[row]) / scale, 1.0) * counts[row]
            gradient += clipped((values[row, member] - answers[row]) / scale, farthest) * pull
        weights[member] *= np.float32(math.exp(-rate * gradient))
        total += weights[member]
    for member in range(members):
        weights[member] = weights[member] / total * (ONE - np.float32(share)) + np.float32(share / members)


@inner
def follow_losses(answers: Any, wanted: Any, counts: Any, farthest: Any, kept: Any, scale: Any, losses: Any) -> None:
    """Takes the errors of answers ``[rows, sets]`` into ``losses`` ``[sets]``, less those of the best set."""
    found = losses * kept
    for number in range(len(losses)):
        for row in range(len(counts)):
            found[number] += min(abs(answers[row, number] - wanted[row]), farthest) / scale * counts[row]
    least = found.min()
    for number in range(len(losses)):
        losses[number] = min(found[number] - least, LARGEST_LOSS)


@inner
def weigh_by_errors(errors: Any, power: Any, weights: Any) -> None:
    """Weights ``[members]`` become the inverse of the errors ``[members]``, to a power."""
    best, total = np.inf, np.float32(0)
    for error in errors:
        best = min(best, error)
    best = max(best, SMALLEST)
    for member in range(len(errors)):
        weights[member] = max(errors[member] / best, 1.0) ** -power
        total += weights[member]
    for member in range(len(errors)):
        weights[member] /= total


@kernel(
    *(F3, D2, F1, INT, UNIT, F3, F2, D3, F2, DOUBLE),
    *(D1, DOUBLE, DOUBLE, D1, DOUBLE, DOUBLE, DOUBLE, DOUBLE),
)
def follow(
    traces: Any,
    targets: Any,
    weights: Any,
    members: int,
    unit: Any,
    mixture_weights: Any,
    trust: Any,
    errors: Any,
    losses: Any,
    scored: float,
    fadings: Any,
    fading: float,
    trusting: float,
    rates: Any,
    batch_power: float,
    share: float,
    farthest: float,
    power: float,
) -> float:
    """Lets the weights and the trust in their sets follow answers as they were served.

    Args:
        traces: ``[rows, members + lags + sets, outputs]``. ``targets`` ``[rows, outputs]`` and ``weights`` ``[rows]``.
        mixture_weights: ``[outputs, sets, members]``. ``trust`` ``[outputs, sets]``.
        losses: of the answers that the sets gave then, which late labels tell of; in errors of the best member of now, and
            less those of the best set ``[outputs, sets]``.
        errors: running errors ``[outputs, fadings, members]``, with so many labels ``scored``; of their past the shares
            ``fadings`` stay per row.
        fading: how much of the losses stays. One unit of them counts ``trusting``.
        rates: of the sets that descend, the first ones; in each of the others a member is weighed by its error of one fading.
        batch_power: a batch of B rows moves the weights as B to this power single ones would.
        share: how much of all weight is spread evenly at each label.
        farthest: where distances are clipped that weights descend by, in errors of the best member.
        power: of the inverse errors.

    Returns:
        How much all labels count that were known of when something was answered.
    """
    known = np.empty(len(traces), np.int64)
    count, total = 0, 0.0
    for row in range(len(traces)):
        # Before the first label there is nothing to answer by.
        if np.isfinite(traces[row, members]).all():
            known[count] = row
            count += 1
            total += weights[row]
    if not count:
        return 0.0
    answers = answers_of(traces, mixture_weights)
    counts, wanted, own = np.empty(count), np.empty(count), np.empty((count, answers.shape[2]))
    values, of_fadings = np.empty((count, members)), np.empty(len(fadings))
    given, first = np.empty(own.shape), traces.shape[1] - own.shape[1]
    for number in range(len(fadings)):
        of_fadings[number] = max(1 - fadings[number] ** total, total / (scored + total))
    shared = min(share * total, 0.5)
    for output in range(len(trust)):
        _, unit_scale, low, high = unit
        for place in range(count):
            row, served = known[place], 0.0
            counts[place] = weights[row]
            own[place], given[place] = answers[row, output], traces[row, first:, output]
            wanted[place] = believed(targets[row, output], low[output], high[output])
            for number in range(own.shape[1]):
                served += own[place, number] * trust[output, number]
            for member in range(members):
                value = traces[row, member, output]
                values[place, member] = value if np.isfinite(value) else served
        # What was answered in a unit that was none, as after a first label that was broken, tells of nobody.
        most = FARTHEST * unit_scale[output]
        former = max(errors[output, len(fadings) - 1].min(), SMALLEST)
        scale = follow_errors(values, wanted, counts, most, of_fadings, errors[output])
        follow_losses(given, wanted, counts, most, fading**total * former / scale, scale, losses[output])
        for number in range(own.shape[1]):
            trust[output, number] = -trusting * losses[output, number]
        log_softmax(trust[output])
        for number in range(own.shape[1]):
            trust[output, number] = math.exp(trust[output, number])
        for number in range(len(rates)):
            rate = rates[number] * total ** (batch_power - 1)
            answered, moved = own[:, number].copy(), mixture_weights[output, number]
            descend(values, answered, wanted, counts, scale, farthest, rate, shared, moved)
        for number in range(len(fadings)):
            weigh_by_errors(errors[output, number], power, mixture_weights[output, len(rates) + number])
    return total

"""A bank of small networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftline.networks.kernels.compiled import F0, F1, F2, F3, FLAG, I1, INT, inner, kernel
from driftline.networks.kernels.elementary import log_softmax
from driftline.networks.kernels.linear import add_product

ZERO, ONE = np.float32(0), np.float32(1)


@inner
def activations(encoded: Any, hidden: Any, bias: Any) -> Any:
    """The hidden layer of one network for rows ``[batch, width]``: ``[batch, units]``."""
    out = np.empty((len(encoded), len(bias)), np.float32)
    out[:] = bias
    add_product(encoded, hidden, out)
    for row in range(len(out)):
        for unit in range(len(bias)):
            out[row, unit] = ZERO if out[row, unit] < ZERO else out[row, unit]
    return out


@inner
def outputs(active: Any, output: Any, bias: Any, out: Any) -> None:
    """The outputs of one network ``[batch, columns]`` into ``out``, from its hidden layer ``[batch, units]``."""
    for row in range(len(active)):
        for column in range(len(bias)):
            out[row, column] = bias[column]
        for unit in range(active.shape[1]):
            value = active[row, unit]
            for column in range(len(bias)):
                out[row, column] += value * output[unit, column]


@inner
def answered(
    encoded: Any, hidden: Any, hidden_bias: Any, output: Any, output_bias: Any, is_trained: Any, out: Any
) -> None:
    """The outputs of all networks ``[members, batch, columns]`` into ``out``; 0 while they are untrained."""
    if not is_trained:
        out[:] = ZERO
        return
    for member in range(len(hidden)):
        active = activations(encoded, hidden[member], hidden_bias[member, 0])
        outputs(active, output[member], output_bias[member, 0], out[member])


@kernel(F2, F3, F3, F3, F3, F0)
def values(encoded: Any, hidden: Any, hidden_bias: Any, output: Any, output_bias: Any, is_trained: Any) -> Any:
    """Rows ``[batch, width]`` → the outputs ``[members, batch, columns]`` of networks; 0 while they are untrained."""
    out = np.empty((len(hidden), len(encoded), output.shape[2]), np.float32)
    answered(encoded, hidden, hidden_bias, output, output_bias, is_trained[()], out)
    return out


@inner
def adam(values: Any, gradient: Any, first: Any, second: Any, place: int, paces: Any) -> int:
    """A step of Adam (Kingma & Ba 2015) for quantities ``[numbers]``, whose moments begin at a ``place``; where they end.

    ``paces`` are the learning rate, the factor of the second moment's root and what is added to that, with the corrections for
    moments that began at 0.
    """
    rate, root, epsilon = paces
    end = place + len(values)
    own, squares = first[place:end], second[place:end]
    for i in range(len(values)):
        change = gradient[i]
        own[i] += (change - own[i]) * KEPT_FIRST
        squares[i] = squares[i] * KEPT_SECOND + change * change * NEW_SECOND
        values[i] -= rate * own[i] / (np.sqrt(squares[i]) * root + epsilon)
    return end


BETAS = (0.9, 0.999)
EPSILON = 1e-8
KEPT_FIRST = np.float32(1 - BETAS[0])
KEPT_SECOND, NEW_SECOND = np.float32(BETAS[1]), np.float32(1 - BETAS[1])


@inner
def cross_entropy_gradient(logits: Any, targets: Any) -> None:
    """Logits ``[rows, columns]`` become the gradient of the cross entropy; ``targets`` ``[rows]`` are columns."""
    for row in range(len(logits)):
        log_softmax(logits[row])
        for column in range(logits.shape[1]):
            logits[row, column] = math.exp(logits[row, column])
        logits[row, targets[row]] -= ONE


@inner
def huber_gradient(values: Any, targets: Any) -> None:
    """Values ``[rows, columns]`` become the gradient of the Huber loss (Huber 1964), which never exceeds 1."""
    for row in range(len(values)):
        for column in range(values.shape[1]):
            error = values[row, column] - targets[row, column]
            error = ONE if error > ONE else error
            values[row, column] = -ONE if error < -ONE else error


@inner
def descend(rows: Any, active: Any, error: Any, network: Any, first: Any, second: Any, rate: Any, steps: int) -> None:
    """One step of a network of one hidden layer.

    Args:
        rows: ``[rows, width]``.
        active: the hidden layer ``[rows, units]``.
        error: the gradient at the outputs ``[rows, columns]``.
        network: its tensors: ``[width, units]``, ``[units]``, ``[units, columns]``, ``[columns]``.
        first: the moments of the gradient, of all quantities one after the other. ``second`` the same.
        rate: of learning.
        steps: which step it is, from 1 on.
    """
    hidden, hidden_bias, output, output_bias = network
    (width, units), columns = hidden.shape, len(output_bias)
    pace = np.float32(rate / (1 - BETAS[0] ** steps))
    root, epsilon = np.float32((1 - BETAS[1] ** steps) ** -0.5), np.float32(EPSILON)
    back = np.zeros((len(rows), units), np.float32)
    for row in range(len(rows)):
        for column in range(columns):
            slope = error[row, column]
            for unit in range(units):
                back[row, unit] += slope * output[unit, column]
        for unit in range(units):
            back[row, unit] = back[row, unit] if active[row, unit] > ZERO else ZERO
    of_hidden = np.empty((width, units), np.float32)
    for i in range(width):
        weigh_rows(rows, i, back, of_hidden[i])
    of_hidden_bias = np.zeros(units, np.float32)
    of_output, of_output_bias = np.zeros((units, columns), np.float32), np.zeros(columns, np.float32)
    for row in range(len(rows)):
        for unit in range(units):
            of_hidden_bias[unit] += back[row, unit]
            for column in range(columns):
                of_output[unit, column] += active[row, unit] * error[row, column]
        for column in range(columns):
            of_output_bias[column] += error[row, column]
    place, paces = 0, (pace, root, epsilon)
    place = adam(hidden.reshape(-1), of_hidden.reshape(-1), first, second, place, paces)
    place = adam(hidden_bias, of_hidden_bias, first, second, place, paces)
    place = adam(output.reshape(-1), of_output.reshape(-1), first, second, place, paces)
    adam(output_bias, of_output_bias, first, second, place, paces)


@inner
def weigh_rows(rows: Any, i: int, back: Any, out: Any) -> None:
    """The sum of ``back`` ``[rows, units]``, each row as often as ``rows[row, i]`` says, into ``out`` ``[units]``."""
    whole = len(rows) - len(rows) % 4
    for unit in range(len(out)):
        out[unit] = ZERO
    for row in range(0, whole, 4):
        x0, x1, x2, x3 = rows[row, i], rows[row + 1, i], rows[row + 2, i], rows[row + 3, i]
        for unit in range(len(out)):
            first = x0 * back[row, unit] + x1 * back[row + 1, unit]
            out[unit] += first + (x2 * back[row + 2, unit] + x3 * back[row + 3, unit])
    for row in range(whole, len(rows)):
        x0 = rows[row, i]
        for unit in range(len(out)):
            out[unit] += x0 * back[row, unit]


@inner
def weighted(error: Any, weights: Any) -> None:
    """The gradient of a mean: each row of ``error`` counts as much as its weight says."""
    for row in range(len(error)):
        share = weights[row] / np.float32(len(error))
        for column in range(error.shape[1]):
            error[row, column] *= share


@kernel(F2, F2, I1, INT, INT, INT, I1, F2, F1, FLAG, F3, F3, F3, F3, F2, F2, F1, INT)
def train(
    encoded: Any,
    drawn: Any,
    reaches: Any,
    seen: int,
    waiting: int,
    fresh: int,
    columns: Any,
    targets: Any,
    weights: Any,
    is_regression: bool,
    hidden: Any,
    hidden_bias: Any,
    output: Any,
    output_bias: Any,
    first: Any,
    second: Any,
    rates: Any,
    steps: int,
) -> None:
    """One update of all networks, each on rows of its own.

    Args:
        encoded: ``[size, width]``, a window of rows. ``weights`` ``[size]``, how much each counts.
        drawn: ``[members, replayed]``, at random from 0 to 1: which rows each network replays.
        reaches: ``[members]``, from how many of the newest rows; 0: from all.
        seen: how many rows have come into the window. So many of the newest are ``waiting``; the oldest of these are ``fresh``.
        columns: ``[size]``, the classes of the window; or, where it ``is_regression``, ``targets`` ``[size, columns]``.
        hidden: the networks' tensors, as :class:`driftline.networks.experts.bank.Bank` has them. ``first`` and ``second``
            ``[members, quantities]``, the moments of their gradients.
        rates: of learning ``[members]``. ``steps``: which update it is, from 1 on.
    """
    size, width = encoded.shape
    count, filled = fresh + drawn.shape[1], min(seen, size)
    rows, weight = np.empty((count, width), np.float32), np.empty(count, np.float32)
    error, of_class = np.empty((count, output.shape[2]), np.float32), np.empty(count, np.int64)
    values = np.empty((count, targets.shape[1]), np.float32)
    for member in range(len(hidden)):
        for row in range(count):
            slot = (seen - waiting + row) % size
            if row >= fresh:
                reach = min(reaches[member], filled) if reaches[member] else filled
                slot = (seen - 1 - int(drawn[member, row - fresh] * np.float32(reach))) % size
            rows[row], weight[row] = encoded[slot], weights[slot]
            if is_regression:
                values[row] = targets[slot]
            else:
                of_class[row] = columns[slot]
        active = activations(rows, hidden[member], hidden_bias[member, 0])
        outputs(active, output[member], output_bias[member, 0], error)
        if is_regression:
            huber_gradient(error, values)
        else:
            cross_entropy_gradient(error, of_class)
        weighted(error, weight)
        network = (hidden[member], hidden_bias[member, 0], output[member], output_bias[member, 0])
        descend(rows, active, error, network, first[member], second[member], rates[member], steps)

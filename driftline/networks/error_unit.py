"""The unit in which the errors of several outputs become one number.

``unit`` ``[outputs]`` are the deviations of the outputs as they once were: errors are compared over many labels, and their unit
must not move with each of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNIT_RANGE = 2.0


def followed(unit: Tensor, deviation: Tensor) -> Tensor | None:
    """Sets the unit of each output that has left it by ``UNIT_RANGE`` to its ``deviation``; gives the unit where one has."""
    ratio = deviation / unit.clamp(min=torch.finfo(deviation.dtype).tiny)
    has_left = (ratio > UNIT_RANGE) | (ratio < 1 / UNIT_RANGE)
    if not bool(has_left.any()):
        return None
    unit[has_left] = deviation[has_left]
    return unit.clone()


def divisor(unit: Tensor) -> Tensor:
    """What errors ``[rows, outputs]`` are divided by: an output that has not varied yet counts for nothing."""
    return unit.masked_fill(unit == 0, math.inf)


def errors(outputs: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
    """How far answers ``[rows, outputs]`` of a regression are from its targets ``[rows]`` or ``[rows, outputs]``.

    ``[rows]``, in the target's own unit; of several outputs the mean, each in its ``unit``.
    """
    distances = (outputs - targets.reshape(outputs.shape)).abs()
    return distances[:, 0] if unit is None else (distances / divisor(unit)).mean(1)

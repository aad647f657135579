"""Numbers that come into another unit: how that is known, and what former ones are there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.networks.robust import FARTHEST, Floats

LARGEST = float(torch.finfo(torch.float32).max)
ERRORS = 4.0
"""In standard errors: what differs by less may be the same."""


@dataclass(frozen=True)
class UnitChange:
    """Numbers that have come into another unit: what a former one would be in the present unit.

    All are float64 ``[means, 1]``. A number counts as former from ``low`` to ``high``; where ``is_outside``, beyond these.
    """

    factor: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor
    is_outside: Tensor

    def features(self, size: int) -> Tensor:
        """Which numbers of a flat row have come into another unit ``[size]``."""
        has_changed = self.is_outside | (self.low <= self.high)
        return has_changed.expand(-1, size // len(has_changed)).reshape(-1)

    def of(self, is_one: Tensor) -> UnitChange:
        """The change of the first numbers ``[numbers]``, of those alone that may have changed."""
        first = [value[: len(is_one)] for value in (self.factor, self.offset, self.low, self.high, self.is_outside)]
        factor, offset, low, high, is_outside = first
        never = ~is_one.unsqueeze(1)
        high = high.masked_fill(never, -math.inf)
        return UnitChange(factor, offset, low.masked_fill(never, math.inf), high, is_outside & ~never)

    def carried(self, numbers: Tensor) -> Tensor:
        """Rows ``[rows, *shape]``, or flat ones, with former numbers in the present unit."""
        if not len(numbers):
            return numbers
        wide = numbers.double().reshape(len(numbers), len(self.factor), -1)
        is_former = ((wide >= self.low) & (wide <= self.high)) ^ self.is_outside
        found = wide.mul(self.factor).add_(self.offset).clamp_(-LARGEST, LARGEST)
        return torch.where(is_former, found, wide).to(numbers.dtype).reshape(numbers.shape)


def unit_change(
    former_mean: Floats,
    former_deviation: Floats,
    mean: Floats,
    deviations: Floats,
    has_changed: NDArray[np.bool_],
    is_flat: NDArray[np.bool_] | None = None,
) -> UnitChange:
    """What keeps the z-scores of former numbers. Where they have come closer together, all that is now far away is former."""
    is_flat = np.zeros_like(has_changed) if is_flat is None else is_flat
    factor = deviations / former_deviation
    middle = np.where(is_flat, mean, former_mean)
    reach = np.where(has_changed, FARTHEST * np.where(is_flat, deviations, former_deviation), -np.inf)
    found = (factor, mean - factor * former_mean, middle - reach, middle + reach, is_flat)
    return UnitChange(*(torch.from_numpy(each).unsqueeze(1) for each in found))


def power_of_ten(former_mean: Floats, former_deviation: Floats, mean: Floats, deviations: Floats, rows: int) -> Floats:
    """The powers of ten that numbers have been multiplied by, for all that so many rows tell; NaN where it was another change.

    Units differ by such powers most often, and few rows tell mean and deviation by a tenth only. What has been learned in the
    former unit holds in the next one if the change is known exactly.
    """
    found = 10.0 ** np.rint(np.log10(np.maximum(deviations, 1e-300) / np.maximum(former_deviation, 1e-300)))
    share = deviations / (found * former_deviation)
    error = ERRORS / math.sqrt(rows)
    # Of a deviation the error is the smaller one for normal numbers, and as large for those with long tails.
    fits = (
        (found != 1)
        & (np.abs(np.log(share)) < error)
        & (np.abs(mean - found * former_mean) < error * found * former_deviation)
    )
    powers: Floats = np.where(fits, found, np.nan)
    return powers

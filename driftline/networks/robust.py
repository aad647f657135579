"""Means, variances and quantiles that a minority of broken numbers does not move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FARTHEST = 10.0
"""In standard deviations: what is farther from the mean does not count."""
# The same in distances within which nearly all numbers lie; and how much of that on top where there are few numbers.
REACH, REACH_OF_FEW = 6.0, 24.0
FEW = 64
"""One in so many numbers may always be out of the way."""
NOISE = 8.0
"""In units of rounding: what differs by less is the same number."""
SMALLEST = 1e-30
"""The least deviation: its inverse fits float32."""


@dataclass(frozen=True)
class RobustSample:
    """Numbers ``[features, numbers]``, sorted; of each feature those from ``first`` to ``last`` count ``[features]``."""

    ordered: Floats
    first: Indices
    last: Indices

    @classmethod
    def of(cls, numbers: NDArray[np.floating[Any]], one_in: int = 10) -> RobustSample:
        """Leaves out what is far from the median: six times as far as all numbers but one in so many, as nine tenths of them.

        Of a normal distribution these are ten standard deviations. One number of three may be left out already. Where nine
        tenths are equal, as of a rare flag, six times as far as half of the others is far, if these are more than a few.
        """
        # In their own type: to sort narrow numbers takes half the time.
        ordered: Floats = np.sort(numbers, axis=1).astype(np.float64, copy=False)
        count = ordered.shape[1]
        if count < 3:
            return cls(ordered, *(np.full(len(ordered), place) for place in (0, count - 1)))
        median = (ordered[:, (count - 1) // 2] + ordered[:, count // 2])[:, None] / 2
        distances = np.abs(ordered - median)
        nearly_all = count - 1 - max(1, count // one_in)
        distances.partition(nearly_all, axis=1)
        reach = distances[:, nearly_all, None] * (REACH + REACH_OF_FEW / count)
        if not reach.all():
            distances.sort(axis=1)
            differing = (distances > 0).sum(1, keepdims=True)
            middle = np.minimum(count - differing + (differing - 1) // 2, count - 1)
            of_others = REACH * np.take_along_axis(distances, middle, 1)
            reach = np.where(reach > 0, reach, of_others * (differing > count // FEW))
        first = (ordered < median - reach).sum(1)
        return cls(ordered, first, count - 1 - (ordered > median + reach).sum(1))

    def moments(self) -> tuple[Floats, Floats]:
        """The mean and the variance of what counts ``[features]``."""
        places = np.arange(self.ordered.shape[1])
        counts = (places >= self.first[:, None]) & (places <= self.last[:, None])
        start = np.take_along_axis(self.ordered, self.first[:, None], 1)
        # From a number of their own on: large ones that differ by little keep their digits.
        distances = np.where(counts, self.ordered - start, 0.0)
        total = (self.last - self.first + 1)[:, None]
        shift = distances.sum(1, keepdims=True) / total
        squares = np.where(counts, np.square(distances - shift), 0.0)
        return (start + shift)[:, 0], squares.sum(1) / total[:, 0]

    def quantiles(self, count: int) -> Floats:
        """So many evenly spaced quantiles of what counts, from the least to the largest number ``[count, features]``."""
        places = self.first + np.linspace(0, 1, count)[:, None] * (self.last - self.first)
        below = np.floor(places).astype(np.int64)
        above = np.minimum(below + 1, self.last)
        low, high = (np.take_along_axis(self.ordered, place.T, 1).T for place in (below, above))
        found: Floats = low + (high - low) * (places - below)
        return found


def deviation(mean: Floats, variance: Floats, rounding: float) -> Floats:
    """What a number's distance from the mean is divided by: never so little that noise of rounding would be blown up.

    Args:
        rounding: the relative error of the numbers, as ``torch.finfo`` gives it (``eps``).
    """
    deviations: Floats = np.sqrt(variance + np.square(NOISE * rounding * mean))
    return np.maximum(deviations, SMALLEST)

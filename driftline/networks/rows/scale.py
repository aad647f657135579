"""A robust scale of quantities that forgets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.kernels.rows import scaled_columns
from driftline.networks.robust import RobustSample
from driftline.networks.unit_change import UnitChange, unit_change

NORMAL_RANGE = 3.29
"""Deviations between the 5 % and the 95 % quantile of a normal distribution."""
LARGEST = 1e38
BURST = 1 / 6
"""The share of the window up to which values that are far from all others are broken ones."""


class RobustScale(nn.Module):
    """Columns of float64, each less its running median and divided by its running range between two quantiles.

    Beyond three deviations a value counts by the logarithm of what it is more: it stays far without hiding all others. NaN,
    which is missing, is 0: the median.

    Both are of a window of the newest values, ``window`` ``[rows, columns]``, of which a column has had ``seen`` so far; they
    follow it slowly, and at once where a column has gone elsewhere, as when its unit has changed.

    Args:
        columns: how many there are.
        rows: of the window.
        period: rows between two looks at the window; the first ones come at 1, 2, 4, … rows.
        rate: how far centre and width go towards those of the window at each look, once it is full; at first farther, as much
            as the rows since the last look are of all. What was learned on the former scale must still hold on the present one.
        jump: how many widths the centre must have moved, or how many times another the width be, to be followed at once; a
            wider one where more than ``BURST`` of the window is that far away.
    """

    window: Tensor
    seen: Tensor
    centre: Tensor
    width: Tensor
    looked: Tensor

    def __init__(
        self, columns: int, *, rows: int = 256, period: int = 32, rate: float = 0.005, jump: float = 5.0
    ) -> None:
        super().__init__()
        self.period, self.rate, self.jump = period, rate, jump
        self.register_buffer("window", torch.zeros(rows, columns, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(columns, dtype=torch.int64))
        self.register_buffer("centre", torch.zeros(columns, dtype=torch.float64))
        self.register_buffer("width", torch.ones(columns, dtype=torch.float64))
        # Rows since the beginning, and at the last look.
        self.register_buffer("looked", torch.zeros(2, dtype=torch.int64))

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """``[rows, columns]`` → the same, scaled."""
        rows = np.ascontiguousarray(values, np.float64)
        found: NDArray[np.float32] = scaled_columns(rows, self.centre.numpy(), self.width.numpy())
        return found

    def observe(self, values: NDArray[np.float64]) -> UnitChange | None:
        """Takes rows ``[rows, columns]`` in, in their order; gives what has come into another unit, if anything has."""
        window, seen, looked = self.window.numpy(), self.seen.numpy(), self.looked.numpy()
        known = ~np.isnan(values)
        after = seen + known.cumsum(0)
        # Of two values of a column with the same place the later one is written last.
        rows, columns = np.nonzero(known)
        window[(after[rows, columns] - 1) % len(window), columns] = values[rows, columns]
        if len(values):
            seen[:] = after[-1]
        looked[0] += len(values)
        if looked[0] - looked[1] >= min(self.period, max(1, int(looked[1]))):
            looked[1] = looked[0]
            return self._look()
        return None

    def _look(self) -> UnitChange | None:
        """Follows the window."""
        window, seen = self.window.numpy(), self.seen.numpy()
        filled = np.minimum(seen, len(window))
        has_any = filled > 0
        ordered = np.sort(np.where(np.arange(len(window))[:, None] < filled, window, LARGEST * 10), axis=0)
        columns, (first, last) = np.arange(window.shape[1]), self._counted(filled)

        def quantile(level: float) -> NDArray[np.float64]:
            found: NDArray[np.float64] = ordered[first + np.rint(level * (last - first)).astype(np.int64), columns]
            return found

        middle = np.where(has_any, quantile(0.5), 0.0)
        spread = quantile(0.95) - quantile(0.05)
        # Where nearly all values are the same, what the others are away from it; one alone does not say.
        rest = np.maximum(quantile(0.99) - middle, middle - quantile(0.01))
        spread = np.where(spread > 0, spread / NORMAL_RANGE, rest)
        # Few values say little of how far the next may be; and a constant has only rounding noise around it.
        floor = np.abs(middle) * np.maximum(1 / np.maximum(filled, 1) ** 2, 1e-6)
        spread = np.maximum(np.where(has_any, spread, 1.0), floor)
        spread = np.where(spread > 0, spread, 1.0)
        # Where one value is half of all, as of a flag, the others are no burst.
        return self._follow(middle, spread, filled, has_any, quantile(0.75) > quantile(0.25))

    def _counted(self, filled: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The places of the least and the largest value of each column that are not far from all others, in their order."""
        first, last = np.zeros_like(filled), np.maximum(filled - 1, 0)
        for count in np.unique(filled[filled > 0]):
            which = np.flatnonzero(filled == count)
            sample = RobustSample.of(self.window.numpy()[:count, which].T)
            first[which], last[which] = sample.first, sample.last
        return first, last

    def _far_share(self, filled: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share of each column's window that is farther from its centre than it may move."""
        is_far = np.abs(self.window.numpy() - self.centre.numpy()) > self.jump * self.width.numpy()
        is_far &= np.arange(len(self.window))[:, None] < filled
        share: NDArray[np.float64] = is_far.sum(0) / np.maximum(filled, 1)
        return share

    def _follow(
        self,
        middle: NDArray[np.float64],
        spread: NDArray[np.float64],
        filled: NDArray[np.int64],
        has_any: NDArray[np.bool_],
        varies: NDArray[np.bool_],
    ) -> UnitChange | None:
        centre, width = self.centre.numpy(), self.width.numpy()
        former_centre, former_width = centre.copy(), width.copy()
        has_moved = np.abs(middle - centre) > self.jump * np.maximum(width, spread)
        # A burst of broken rows is wide, too: it is another unit where it is more than a few of the window, and else nothing.
        is_wide = spread > self.jump * width
        is_burst = is_wide & varies & (filled == len(self.window)) & (self._far_share(filled) <= BURST)
        has_moved |= (is_wide & ~is_burst) | (width > self.jump * spread)
        usual = np.maximum(self.period / np.maximum(self.seen.numpy(), 1), self.rate)
        rate = np.where(has_moved | (filled < len(self.window)), 1.0, usual)
        rate = np.where(has_any & ~is_burst, rate, 0.0)
        # Not by a difference: 1 + (1e-20 - 1) is 0.
        centre[:] = np.where(rate == 1, middle, centre + rate * (middle - centre))
        width[:] = np.where(rate == 1, spread, width + rate * (spread - width))
        has_jumped = has_moved & has_any & (filled == len(self.window))
        return unit_change(former_centre, former_width, centre, width, has_jumped) if has_jumped.any() else None

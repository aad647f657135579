"""Rows as the experts see them: z-scores beside a piecewise-linear encoding between quantiles."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.networks.kernels.encoding import encode
from driftline.networks.kernels.views import Viewed, array_of, rows_of
from driftline.networks.robust import RobustSample, deviation

BINS = 8
MAX_BINNED, MAX_BINNED_OF_TABLE = 100, 200
# Beyond this a difference of two inputs, or its square, would leave float32.
LARGEST = 1e18
SLOWEST = 0.01
ROUNDING = torch.finfo(torch.float32).eps
SETTLING = 256
# Of a window in one unit so many numbers tell enough.
MAX_NUMBERS = 2**15


class Encoding(Viewed):
    """Piecewise-linear encoding of numbers (Gorishniy et al. 2022, "On Embeddings for Numerical Features").

    Each feature becomes its z-score, clipped, and of each bin between neighbouring quantiles the part that is filled, less a
    half. Of more than ``MAX_BINNED`` features, or ``MAX_BINNED_OF_TABLE`` where there are marks, there are z-scores alone. It
    moves only in :meth:`observe`, and late ever more slowly: what was learned on the former encoding then still holds on the
    present one.

    Features in one unit, as pixels are, have one mean and deviation for all, which soon stand still: a border that was empty
    until now then does not count for more than all else.

    Args:
        features: numbers in a row.
        one_unit: whether all are in one unit.
        binned: how many of them, the first ones, are quantities; the others are marks, which have no bins. None: all.
    """

    mean: Tensor
    variance: Tensor
    quantiles: Tensor
    centre: Tensor
    slope: Tensor

    def __init__(self, features: int, *, one_unit: bool = False, binned: int | None = None) -> None:
        super().__init__()
        self.features = features
        self.one_unit = one_unit
        self.binned = features if binned is None else binned
        most = MAX_BINNED if binned is None else MAX_BINNED_OF_TABLE
        self.bins = BINS if self.binned <= most and not one_unit else 0
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("quantiles", torch.zeros(self.bins + 1, self.binned))
        # The first features give the z-scores, each further row a bin.
        shape = (1 + self.bins, features) if self.binned == features else (features + self.bins * self.binned,)
        self.register_buffer("centre", torch.zeros(shape))
        self.register_buffer("slope", torch.ones(shape))

    def continue_from(self, former: Encoding, places: Tensor) -> Tensor:
        """Goes on as one of rows with fewer numbers, which stand at ``places`` now; gives where the encoded ones stand."""
        binned = places[: former.binned]
        bins = [self.features + number * self.binned + binned for number in range(self.bins)]
        encoded = torch.cat([places, *bins])
        self.mean[places], self.variance[places] = former.mean, former.variance
        self.quantiles[:, binned] = former.quantiles
        self.centre.view(-1)[encoded], self.slope.view(-1)[encoded] = former.centre.view(-1), former.slope.view(-1)
        return encoded

    @property
    def width(self) -> int:
        """Numbers in one encoded row; the first ``features`` of them are the z-scores."""
        return self.slope.numel()

    def forward(self, rows: Tensor) -> Tensor:
        """``[batch, features]`` → ``[batch, width]``."""
        encoded = torch.empty(len(rows), self.width)
        self.encode(rows, encoded)
        return encoded

    def encode(self, rows: Tensor, out: Tensor) -> None:
        """``[batch, features]`` → ``out`` ``[batch, width]``."""
        encode(rows_of(rows), *self.arrays(), self.binned, array_of(out))

    def _viewed(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``centre`` and ``slope``, flat, as kernels take them."""
        return array_of(self.centre).reshape(-1), array_of(self.slope).reshape(-1)

    @torch.no_grad()
    def observe(self, window: Tensor, seen: int, new: int, has_changed: Tensor | None = None) -> None:
        """Follows the newest rows; numbers that are far away from all others of their feature do not count.

        Args:
            window: ``[rows, features]``, the newest rows.
            seen: how many rows there have been.
            new: how many of them since the last call.
            has_changed: ``[features]``, those that have come into another unit, as the window is: they begin again from it.
        """
        is_settled = self.one_unit and seen - new >= SETTLING
        if is_settled and (has_changed is None or not has_changed.any()):
            return
        window = window.clamp(-LARGEST, LARGEST)
        sample = RobustSample.of(self._numbers(window))
        mean, variance = self._with_marks(window, *map(torch.from_numpy, sample.moments()))
        rate = torch.full((self.features,), self._rate(seen, new, is_settled), dtype=torch.float64)
        if has_changed is not None:
            rate.masked_fill_(has_changed, 1.0)
        delta = mean - self.mean
        spread = variance + (1 - rate) * delta**2
        self.variance.copy_((self.variance + rate * (spread - self.variance)).clamp(max=LARGEST**2))
        self.mean.add_(rate * delta)
        deviations = torch.from_numpy(deviation(self.mean.double().numpy(), self.variance.double().numpy(), ROUNDING))
        centre, slope = self.centre.view(-1), self.slope.view(-1)
        centre[: self.features] = self.mean
        slope[: self.features] = 1 / deviations
        if self.bins:
            edges = torch.from_numpy(sample.quantiles(self.bins + 1)).float()
            self.quantiles.add_((edges - self.quantiles).mul_(rate[: self.binned]))
            low, high = self.quantiles[:-1], self.quantiles[1:]
            width = torch.maximum(high - low, 1e-3 / slope[: self.binned])
            centre[self.features :] = (low + width / 2).flatten()
            slope[self.features :] = (1 / width).flatten()

    def _with_marks(self, window: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the quantities with those of the marks behind them, which cannot be broken."""
        if self.binned == self.features:
            return mean, variance
        of_marks = torch.var_mean(window[:, self.binned :].double(), 0, correction=0)
        return torch.cat([mean, of_marks[1]]), torch.cat([variance, of_marks[0]])

    def _rate(self, seen: int, new: int, is_settled: bool) -> float:
        """How much the newest window counts beside all before."""
        if is_settled:
            return 0.0
        return 1.0 if seen <= SETTLING else max(new / seen, SLOWEST)

    def _numbers(self, window: Tensor) -> NDArray[np.float32]:
        """What mean and variance are of ``[features, numbers]``; where all features are in one unit, ``[1, numbers]``."""
        if not self.one_unit:
            return window[:, : self.binned].numpy().T
        step = -(-window.numel() // MAX_NUMBERS)
        # Every feature has its turn.
        while math.gcd(step, self.features) > 1:
            step += 1
        return window.reshape(1, -1)[:, ::step].numpy()

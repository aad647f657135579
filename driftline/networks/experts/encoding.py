"""Rows as the experts see them: z-scores beside a piecewise-linear encoding between quantiles."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.robust import RobustSample, deviation

BINS = 8
MAX_BINNED = 100
LIMIT = 5.0
# Beyond this a difference of two inputs, or its square, would leave float32.
LARGEST = 1e18
SLOWEST = 0.01
ROUNDING = torch.finfo(torch.float32).eps
SETTLING = 256
# Of a window in one unit so many numbers tell enough.
MAX_NUMBERS = 2**15


class Encoding(nn.Module):
    """Piecewise-linear encoding of numbers (Gorishniy et al. 2022, "On Embeddings for Numerical Features").

    Each feature becomes its z-score, clipped, and of each bin between neighbouring quantiles the part that is filled, less a
    half. Rows of more than ``MAX_BINNED`` features have the z-scores alone. It moves only in :meth:`observe`, and late ever
    more slowly: what was learned on the former encoding then still holds on the present one.

    Features in one unit, as pixels are, have one mean and deviation for all, which soon stand still: a border that was empty
    until now then does not count for more than all else.
    """

    mean: Tensor
    variance: Tensor
    quantiles: Tensor
    centre: Tensor
    slope: Tensor
    _lowest: Tensor
    _highest: Tensor

    def __init__(self, features: int, *, one_unit: bool = False) -> None:
        super().__init__()
        self.features = features
        self.one_unit = one_unit
        self.bins = BINS if features <= MAX_BINNED and not one_unit else 0
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("quantiles", torch.zeros(self.bins + 1, features))
        # The first row gives the z-scores, each further one a bin.
        self.register_buffer("centre", torch.zeros(1 + self.bins, features))
        self.register_buffer("slope", torch.ones(1 + self.bins, features))
        limits = torch.tensor([[LIMIT], *[[0.5]] * self.bins]).expand(-1, features).contiguous()
        self.register_buffer("_lowest", -limits, persistent=False)
        self.register_buffer("_highest", limits, persistent=False)

    @property
    def width(self) -> int:
        """Numbers in one encoded row; the first ``features`` of them are the z-scores."""
        return self.slope.numel()

    def forward(self, rows: Tensor) -> Tensor:
        """``[batch, features]`` → ``[batch, width]``."""
        encoded = (rows.unsqueeze(1) - self.centre).mul_(self.slope)
        return encoded.clamp_(self._lowest, self._highest).flatten(1)

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
        sample = RobustSample.of(self._numbers(window.clamp(-LARGEST, LARGEST)))
        mean, variance = map(torch.from_numpy, sample.moments())
        rate = torch.full((self.features,), self._rate(seen, new, is_settled), dtype=torch.float64)
        if has_changed is not None:
            rate.masked_fill_(has_changed, 1.0)
        delta = mean - self.mean
        spread = variance + (1 - rate) * delta**2
        self.variance.copy_((self.variance + rate * (spread - self.variance)).clamp(max=LARGEST**2))
        self.mean.add_(rate * delta)
        deviations = torch.from_numpy(deviation(self.mean.double().numpy(), self.variance.double().numpy(), ROUNDING))
        self.centre[0] = self.mean
        self.slope[0] = 1 / deviations
        if self.bins:
            edges = torch.from_numpy(sample.quantiles(self.bins + 1)).float()
            self.quantiles.add_((edges - self.quantiles).mul_(rate))
            low, high = self.quantiles[:-1], self.quantiles[1:]
            width = torch.maximum(high - low, 1e-3 / self.slope[0])
            self.centre[1:] = low + width / 2
            self.slope[1:] = 1 / width

    def _rate(self, seen: int, new: int, is_settled: bool) -> float:
        """How much the newest window counts beside all before."""
        if is_settled:
            return 0.0
        return 1.0 if seen <= SETTLING else max(new / seen, SLOWEST)

    def _numbers(self, window: Tensor) -> NDArray[np.float64]:
        """What mean and variance are of ``[features, numbers]``; where all features are in one unit, ``[1, numbers]``."""
        if not self.one_unit:
            return window.double().numpy().T
        step = -(-window.numel() // MAX_NUMBERS)
        # Every feature has its turn.
        while math.gcd(step, self.features) > 1:
            step += 1
        return window.reshape(1, -1)[:, ::step].double().numpy()

"""Rows as the experts see them: z-scores beside a piecewise-linear encoding between quantiles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BINS = 8
MOST_BINNED = 100
LIMIT = 5.0
# Beyond this a difference of two inputs, or its square, would leave float32.
LARGEST = 1e18
SLOWEST = 0.01
SETTLING = 256


class Encoding(nn.Module):
    """Piecewise-linear encoding of numbers (Gorishniy et al. 2022, "On Embeddings for Numerical Features").

    Each feature becomes its z-score, clipped, and the filled part, less one half, of each bin between neighbouring quantiles. Rows
    of more than ``MOST_BINNED`` features have the z-scores alone. It moves only in :meth:`observe`, and late ever more slowly: what
    was learned on the former encoding then still holds on the present one.
    """

    mean: Tensor
    variance: Tensor
    inverse: Tensor
    quantiles: Tensor
    low: Tensor
    slope: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.bins = BINS if features <= MOST_BINNED else 0
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("inverse", torch.ones(features))
        self.register_buffer("quantiles", torch.zeros(features, self.bins + 1))
        self.register_buffer("low", torch.zeros(features, self.bins))
        self.register_buffer("slope", torch.ones(features, self.bins))

    @property
    def width(self) -> int:
        """Numbers in one encoded row; the first ``features`` of them are the z-scores."""
        return self.features * (self.bins + 1)

    def forward(self, rows: Tensor) -> Tensor:
        """``[batch, features]`` → ``[batch, width]``."""
        rows = rows.clamp(-LARGEST, LARGEST)
        scores = ((rows - self.mean) * self.inverse).clamp_(-LIMIT, LIMIT)
        if not self.bins:
            return scores
        filled = (rows.unsqueeze(2) - self.low).mul_(self.slope).clamp_(0, 1).sub_(0.5)
        return torch.cat([scores, filled.flatten(1)], 1)

    @torch.no_grad()
    def observe(self, window: Tensor, seen: int, new: int) -> None:
        """Follows the newest rows.

        Args:
            window: ``[rows, features]``, the newest rows.
            seen: how many rows there have been.
            new: how many of them since the last call.
        """
        window = window.clamp(-LARGEST, LARGEST)
        rate = 1.0 if seen <= SETTLING else max(new / seen, SLOWEST)
        variance, mean = torch.var_mean(window.double(), 0, correction=0)
        delta = mean - self.mean
        spread = variance + (1 - rate) * delta**2
        self.variance.copy_((self.variance + rate * (spread - self.variance)).clamp(max=LARGEST**2))
        self.mean.add_(rate * delta)
        # A constant feature has only rounding noise around its mean: it must not be blown up.
        self.inverse.copy_(torch.rsqrt(self.variance.double() + (1e-6 * self.mean.double()) ** 2 + 1e-12))
        if self.bins:
            levels = torch.linspace(0, 1, self.bins + 1, dtype=window.dtype)
            self.quantiles.lerp_(torch.quantile(window, levels, dim=0).T, rate)
            self.low.copy_(self.quantiles[:, :-1])
            narrowest = (1e-3 / self.inverse).unsqueeze(1)
            self.slope.copy_(1 / torch.maximum(self.quantiles[:, 1:] - self.low, narrowest))

"""Prediction intervals that follow how wrong answers have been of late, whatever model gave them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

WINDOW = 500
"""Residuals whose quantiles are taken."""
MIN_LABELS = 20
"""Fewer tell nothing of how wrong answers are."""
GAIN = 0.1
"""How much one label moves an end of the interval, in units of the running absolute residual."""
RATE = 0.05
"""The share of a label in the running absolute residual."""
FARTHEST = 10.0
"""A residual counts there as no more than so many times what it is."""
LARGEST = 3.0e38

Floats = NDArray[np.float64]


class RunningIntervals(nn.Module):
    """What quantiles of a label to expect around an answer: online conformal prediction (Gibbs & Candès 2021).

    An end stands where the residuals (label less answer) of the newest labels have that quantile, each divided by the running
    absolute residual at its time, and multiplied by the present one; and further out or in by a correction that each label
    moves, as it lies within or without the end *as it was served*. The correction is that of conformal PID control
    (Angelopoulos et al. 2023, equation 5, as the integral term): in the long run as many labels lie below an end as its level
    says, on any sequence of labels.

    Args:
        levels: the quantiles ``[levels]``, increasing, between 0 and 1.
        outputs: how many numbers an answer has; each has ends of its own.
    """

    residuals: Tensor
    spread: Tensor
    corrections: Tensor
    offsets: Tensor
    seen: Tensor

    def __init__(self, levels: Sequence[float], outputs: int) -> None:
        super().__init__()
        self.levels = np.array(levels, np.float64)
        # Under an end the chance is at its smallest; so many labels are needed for one to lie beyond it.
        rarest = min(*levels, *(1 - level for level in levels))
        self.needed = max(MIN_LABELS, math.ceil(1 / rarest) - 1)
        window = max(WINDOW, self.needed)
        self.register_buffer("residuals", torch.zeros(outputs, window, dtype=torch.float64))
        self.register_buffer("spread", torch.zeros(outputs, dtype=torch.float64))
        self.register_buffer("corrections", torch.zeros(outputs, len(levels), dtype=torch.float64))
        self.register_buffer("offsets", torch.zeros(outputs, len(levels), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @property
    def outputs(self) -> int:
        return self.offsets.shape[0]

    @property
    def width(self) -> int:
        """How many numbers an answer has with its ends."""
        return self.outputs * (1 + self.offsets.shape[1])

    def forward(self, values: Tensor) -> Tensor:
        """The ends ``[batch, outputs · levels]`` around ``values`` ``[batch, outputs]``; NaN while too few labels are known."""
        if int(self.seen) < self.needed:
            return values.new_full((len(values), self.offsets.numel()), math.nan)
        ends = values.double().unsqueeze(2) + self.offsets
        return ends.clamp_(-LARGEST, LARGEST).flatten(1).to(values.dtype)

    def observe(self, labels: Floats, served: Floats) -> None:
        """Takes in labels ``[rows, outputs]``, in their order, and what was ``served``: answers, then their ends ``[rows,
        outputs · (1 + levels)]``.
        """
        outputs = labels.shape[1]
        for label, answer in zip(labels, served, strict=True):
            value, ends = answer[:outputs], answer[outputs:].reshape(outputs, -1)
            if np.isfinite(value).all():
                self._take(label, label - value, ends)
        if len(labels) and int(self.seen) >= self.needed:
            self._place_ends()

    def _take(self, label: Floats, residual: Floats, ends: Floats) -> None:
        seen, spread = int(self.seen), self.spread.numpy()
        size = np.abs(residual)
        if np.isfinite(ends).all():
            # A label on an end is within: it counts as above a lower one, and as below an upper one.
            is_below = np.where(self.levels < 0.5, label[:, None] < ends, label[:, None] <= ends)
            self.corrections.numpy()[:] += GAIN * (self.levels - is_below)
        if seen < MIN_LABELS:
            spread += (size - spread) / (seen + 1)
        else:
            spread += RATE * (np.minimum(size, FARTHEST * np.where(spread > 0, spread, size)) - spread)
        unit = np.where(spread > 0, spread, 1.0)
        self.residuals.numpy()[:, seen % self.residuals.shape[1]] = residual / unit
        self.seen.fill_(seen + 1)

    def _place_ends(self) -> None:
        count = min(int(self.seen), self.residuals.shape[1])
        ordered = np.sort(self.residuals.numpy()[:, :count], axis=1)
        # The unbiased place of a quantile among so many numbers (Weibull 1939), between two of them where it is no whole one.
        places = np.clip(self.levels * (count + 1) - 1, 0, count - 1)
        below = np.floor(places).astype(np.int64)
        above = np.minimum(below + 1, count - 1)
        quantiles = ordered[:, below] + (places - below) * (ordered[:, above] - ordered[:, below])
        ends = self.spread.numpy()[:, None] * (quantiles + self.corrections.numpy())
        self.offsets.numpy()[:] = np.sort(ends, axis=1)

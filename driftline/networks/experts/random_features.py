"""Random features beside the encoding itself, for linear regressions on both."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from driftline.networks.kernels.values import feature
from driftline.networks.kernels.views import Viewed, array_of, rows_of

AMPLITUDE = 2.0
OF_ENCODING = 0.5
"""How much the encoding counts beside the random features."""
MAX_ENCODED = 400
"""A wider encoding is left out: it would be most of the features."""


class RandomFeatures(Viewed):
    """Random cosine features (Rahimi & Recht 2007) of encoded rows, the encoding, and a constant.

    Linear in these is an additive model of piecewise-linear functions with whatever else the random features can tell.
    """

    weight: Tensor
    phase: Tensor

    def __init__(self, width: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.has_encoding = width <= MAX_ENCODED
        self.features = units + width * self.has_encoding
        self.register_buffer("weight", torch.randn(width, units, generator=generator) * (2 / math.sqrt(width)))
        self.register_buffer("phase", torch.rand(units, generator=generator) * (2 * math.pi))

    def continue_from(self, former: RandomFeatures, encoded: Tensor) -> Tensor:
        """Goes on as those of rows with fewer encoded numbers, which stand at ``encoded`` now.

        Returns:
            Where the former features stand now, the constant as the last one.
        """
        self.weight[encoded] = former.weight
        self.phase = former.phase.clone()
        units = len(self.phase)
        own = units + encoded if self.has_encoding else encoded[:0]
        return torch.cat([torch.arange(units), own, torch.tensor([self.features])])

    def forward(self, encoded: Tensor) -> Tensor:
        """``[batch, width]`` → ``[batch, features + 1]``."""
        return torch.from_numpy(feature(rows_of(encoded), self.arrays()))

    def _viewed(self) -> tuple[Any, ...]:
        """Weight, phase and how large each part is, as kernels take them."""
        amplitude = AMPLITUDE * math.sqrt(2 / len(self.phase))
        return array_of(self.weight), array_of(self.phase), amplitude, OF_ENCODING, self.has_encoding

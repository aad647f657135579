"""Ridge regression on random features, as an expert."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.kernels.ridge import answers, project
from driftline.networks.kernels.views import Viewed, array_of, rows_of

# How much of the past each head keeps, per row.
KEPT = (1.0, 0.999)


class Ridge(Viewed):
    """Linear heads on random cosine features (Rahimi & Recht 2007), one for each rate of forgetting."""

    weight: Tensor
    phase: Tensor
    heads: Tensor

    def __init__(self, width: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(width, units, generator=generator) / math.sqrt(width))
        self.register_buffer("phase", torch.rand(units, generator=generator) * (2 * math.pi))
        self.register_buffer("heads", torch.zeros(len(KEPT), units, 0))

    @property
    def members(self) -> int:
        return len(KEPT)

    def project(self, encoded: Tensor) -> Tensor:
        """``[batch, width]`` → random features ``[batch, units]``."""
        weight, phase, _ = self.arrays()
        return torch.from_numpy(project(rows_of(encoded), weight, phase))

    def forward(self, encoded: Tensor) -> Tensor:
        """Log-probabilities ``[members, batch, columns]``."""
        return torch.from_numpy(answers(rows_of(encoded), *self.arrays())).transpose(0, 1)

    def _viewed(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """``weight``, ``phase`` and ``heads``, as kernels take them."""
        return array_of(self.weight), array_of(self.phase), array_of(self.heads)

    def continue_from(self, former: Ridge, encoded: Tensor) -> None:
        """Goes on as one of rows with fewer encoded numbers, which stand at ``encoded`` now."""
        self.weight[encoded] = former.weight
        self.phase, self.heads = former.phase.clone(), former.heads.clone()

    def add_columns(self, count: int) -> None:
        self.heads = nn.functional.pad(self.heads, (0, count))

    def select(self, columns: Tensor) -> None:
        self.heads = self.heads[:, :, columns].contiguous()

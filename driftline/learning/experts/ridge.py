"""Recursive ridge regression with forgetting."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from driftline.networks.experts.ridge import KEPT, Ridge

# Beside features of mean square 16 / units; and as much of the mean square that has been seen.
PENALTY = 1.0
AMPLITUDE = 4.0
# From a solution, which lies between 0 and 1, to logits.
SHARPNESS = 6.0
DAMPING = 1e-4


class RidgeLearner:
    """Sums of ``φφᵀ`` and ``φtᵀ``, from which the heads are solved; ``t`` is one at the label, less one part in all classes."""

    def __init__(self, ridge: Ridge) -> None:
        self.ridge = ridge
        heads, units, classes = ridge.heads.shape
        self.gram = torch.zeros(heads, units, units)
        self.moment = torch.zeros(heads, units, classes)
        self._amplitude = AMPLITUDE * math.sqrt(2 / units)

    def learn(self, encoded: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Takes rows ``[rows, width]`` in and solves."""
        self.take(encoded, targets, weights)
        self._solve()

    def take(self, encoded: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Takes rows ``[rows, width]`` into the sums."""
        rows, classes = len(targets), self.moment.shape[2]
        features = self.ridge.project(encoded).mul_(self._amplitude)
        weighted = features * weights.unsqueeze(1)
        wanted = features.new_full((rows, classes), -1 / classes)
        wanted.scatter_add_(1, targets.unsqueeze(1), wanted.new_ones(rows, 1))
        kept = torch.tensor([rate**rows for rate in KEPT]).view(-1, 1, 1)
        self.gram.mul_(kept).add_(weighted.T @ features)
        self.moment.mul_(kept).add_(weighted.T @ wanted)

    def _solve(self) -> None:
        penalised = self.gram.clone()
        penalised.diagonal(dim1=1, dim2=2).add_(
            PENALTY + DAMPING * penalised.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
        )
        factor, failed = torch.linalg.cholesky_ex(penalised)
        if not failed.any():
            self.ridge.heads.copy_(torch.cholesky_solve(self.moment, factor).mul_(self._amplitude * SHARPNESS))

    def add_classes(self, count: int) -> None:
        self.moment = nn.functional.pad(self.moment, (0, count))

    def tensors(self) -> dict[str, Tensor]:
        return {"gram": self.gram, "moment": self.moment}

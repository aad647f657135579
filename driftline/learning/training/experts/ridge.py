"""Recursive ridge regression with forgetting."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from driftline.learning.stateful import Stateful
from driftline.learning.training.experts.least_squares import remembered_sums
from driftline.networks.experts.ridge import KEPT, Ridge


class RidgeLearner(Stateful):
    """Sums of ``φφᵀ`` and ``φtᵀ``, from which the heads are solved; ``t`` is one at the label: a softmax is blind to a mean.

    Args:
        penalty: what is added to the diagonal of ``φφᵀ``.
        amplitude: how large the random features are.
        sharpness: from a solution, which lies between 0 and 1, to logits.
        damping: a further penalty, as a share of the mean square that has been seen: keeps float32 from failing on millions of
            rows.
    """

    STATE = ("gram", "moment")
    DERIVED = ("ridge", "penalty", "amplitude", "sharpness", "damping")

    def __init__(
        self,
        ridge: Ridge,
        *,
        penalty: float = 1.0,
        amplitude: float = 4.0,
        sharpness: float = 6.0,
        damping: float = 1e-5,
    ) -> None:
        self.ridge = ridge
        self.penalty, self.amplitude, self.sharpness, self.damping = penalty, amplitude, sharpness, damping
        heads, units, columns = ridge.heads.shape
        self.gram = torch.zeros(heads, units, units)
        self.moment = torch.zeros(heads, units, columns)

    @property
    def _amplitude(self) -> float:
        return self.amplitude * math.sqrt(2 / self.gram.shape[1])

    def learn(self, encoded: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Takes rows ``[rows, width]`` in and solves."""
        rows = len(targets)
        features = self.ridge.project(encoded).mul_(self._amplitude)
        weighted = features * weights.unsqueeze(1)
        wanted = torch.nn.functional.one_hot(targets, self.moment.shape[2]).float()
        kept = torch.tensor([rate**rows for rate in KEPT]).view(-1, 1, 1)
        self.gram.mul_(kept).add_(weighted.T @ features)
        self.moment.mul_(kept).add_(weighted.T @ wanted)
        factor, failed = torch.linalg.cholesky_ex(self._penalised())
        if not failed.any():
            self.ridge.heads.copy_(torch.cholesky_solve(self.moment, factor).mul_(self._amplitude * self.sharpness))

    def recall(self, encoded: Tensor, seen: int) -> None:
        """Sums that have the present heads as their solution, as of ``seen`` rows like those of ``encoded``."""
        features = self.ridge.project(encoded).mul_(self._amplitude)
        self.gram.copy_(remembered_sums(features, KEPT, seen))
        self.moment.copy_(self._penalised() @ self.ridge.heads / (self._amplitude * self.sharpness))

    def _penalised(self) -> Tensor:
        gram = self.gram.clone()
        diagonal = gram.diagonal(dim1=1, dim2=2)
        diagonal.add_(self.penalty + self.damping * diagonal.mean(1, keepdim=True))
        return gram

    def add_columns(self, count: int) -> None:
        self.moment = nn.functional.pad(self.moment, (0, count))

    def select(self, columns: Tensor) -> None:
        self.moment = self.moment[:, :, columns]

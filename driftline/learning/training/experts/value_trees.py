"""How boosted trees are grown whose leaves add to values."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.learning.training.experts.trees import TreesLearner


class ValueTreesLearner(TreesLearner):
    """Trees of a regression: of targets ``[rows, outputs]`` in the unit of :class:`TargetUnit`, with a Huber loss."""

    def change_targets(self, factor: Tensor, offset: Tensor) -> None:
        """Brings trees and sums into another unit: a value is ``factor * former + offset`` there, each ``[outputs]``."""
        trees, factor = self.trees, factor.float()
        trees.values.mul_(factor)
        trees.base.mul_(factor).add_(offset.float())
        self.sums.mul_(factor)

    def _base(self, targets: Tensor, weights: Tensor) -> Tensor:
        return weights @ targets / weights.sum()

    def _errors(self, sums: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        errors = targets - (sums + self.trees.base)
        return errors.clamp_(-1, 1), torch.ones_like(errors)

    def _sketched(self, gradient: Tensor, generator: torch.Generator) -> Tensor:
        # Two values tell nothing of one another, as two chances do.
        return gradient if gradient.shape[1] == 2 else super()._sketched(gradient, generator)

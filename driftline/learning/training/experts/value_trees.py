"""How boosted trees are grown whose leaves add to values."""

from __future__ import annotations

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

"""Focal loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import Focal


class FocalLoss(LossFunction[Focal]):
    """``-(1 - p)^gamma log p``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        if targets.is_floating_point():
            return self._of(binary_cross_entropy_with_logits(outputs, targets, reduction="none")).sum(1)
        return self._of(cross_entropy(outputs, targets, reduction="none"))

    def _of(self, surprise: Tensor) -> Tensor:
        # 1 - p by expm1, and never quite zero: the power's derivative there is infinite for gamma below 1.
        return (-surprise.neg().expm1()).clamp_min(1e-7) ** self.parameters.gamma * surprise

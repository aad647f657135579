"""Focal loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import Focal


class FocalLoss(LossFunction[Focal]):
    """``-(1 - p)^gamma log p``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        surprise = cross_entropy(outputs, targets, reduction="none")
        # 1 - p by expm1, and never quite zero: the power's derivative there is infinite for gamma below 1.
        return (-surprise.neg().expm1()).clamp_min(1e-7) ** self.parameters.gamma * surprise

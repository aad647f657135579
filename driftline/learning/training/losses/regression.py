"""Losses of a regression, in units of the target's running deviation."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import huber_loss

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import AbsoluteError, Huber, SquaredError


class SquaredErrorLoss(LossFunction[SquaredError]):
    """``(y - t)²``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        return (outputs[:, 0] - targets) ** 2


class AbsoluteErrorLoss(LossFunction[AbsoluteError]):
    """``|y - t|``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        return (outputs[:, 0] - targets).abs()


class HuberLoss(LossFunction[Huber]):
    """Quadratic up to ``delta``, linear beyond."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        return huber_loss(outputs[:, 0], targets, reduction="none", delta=self.parameters.delta)

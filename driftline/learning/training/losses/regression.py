"""Losses of a regression, in units of the targets' running deviations; of several outputs the mean."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import huber_loss

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import AbsoluteError, Huber, SquaredError


class SquaredErrorLoss(LossFunction[SquaredError]):
    """``(y - t)²``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        return ((outputs - targets.reshape(outputs.shape)) ** 2).mean(1)


class AbsoluteErrorLoss(LossFunction[AbsoluteError]):
    """``|y - t|``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        return (outputs - targets.reshape(outputs.shape)).abs().mean(1)


class HuberLoss(LossFunction[Huber]):
    """Quadratic up to ``delta``, linear beyond."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        wanted = targets.reshape(outputs.shape)
        return huber_loss(outputs, wanted, reduction="none", delta=self.parameters.delta).mean(1)

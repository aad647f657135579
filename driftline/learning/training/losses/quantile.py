"""A quantile of a regression."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import Quantile


class QuantileLoss(LossFunction[Quantile]):
    """``max(q · (t - y), (q - 1) · (t - y))``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        quantile, below = self.parameters.quantile, targets.reshape(outputs.shape) - outputs
        return torch.maximum(quantile * below, (quantile - 1) * below).mean(1)

"""Cross-entropy on logits that know how frequent each class is."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import LogitAdjusted


class LogitAdjustedLoss(LossFunction[LogitAdjusted]):
    """Cross-entropy of ``logits + temperature · log prior``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        prior = (counts.double() + 1) / (counts.sum() + len(counts))
        adjustment = self.parameters.temperature * prior.log().to(outputs.dtype)
        return cross_entropy(outputs + adjustment, targets, reduction="none")

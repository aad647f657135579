"""Cross-entropy in both directions."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import SymmetricCrossEntropy

LOG_ZERO = -4.0
"""What stands for the logarithm of zero in the paper's experiments."""


class SymmetricCrossEntropyLoss(LossFunction[SymmetricCrossEntropy]):
    """``alpha · H(label, p) + beta · H(p, label)``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        surprise = cross_entropy(outputs, targets, reduction="none")
        return self.parameters.alpha * surprise + self.parameters.beta * LOG_ZERO * surprise.neg().expm1()

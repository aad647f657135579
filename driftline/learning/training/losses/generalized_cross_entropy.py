"""Between cross-entropy and mean absolute error."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import GeneralizedCrossEntropy


class GeneralizedCrossEntropyLoss(LossFunction[GeneralizedCrossEntropy]):
    """``(1 - p^q) / q``."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        surprise = cross_entropy(outputs, targets, reduction="none")
        return -(-self.parameters.q * surprise).expm1() / self.parameters.q

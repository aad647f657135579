"""Cross-entropy that is fair to rare classes."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import ClassBalanced


class ClassBalancedLoss(LossFunction[ClassBalanced]):
    """Cross-entropy weighted by the inverse of the effective number of labels of each class."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        weights = self.weights(counts).to(outputs.dtype)
        return weights[targets] * cross_entropy(outputs, targets, reduction="none")

    def weights(self, counts: Tensor) -> Tensor:
        """The weight of each class ``[classes]``; one that was never seen has that of a class seen once."""
        beta = self.parameters.beta
        found = (1 - beta) / (1 - beta ** counts.double().clamp(min=1))
        seen = found[counts > 0]
        return found / seen.mean() if len(seen) else found

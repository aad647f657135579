"""One binary classifier for each class."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import BinaryCrossEntropy


class BinaryCrossEntropyLoss(LossFunction[BinaryCrossEntropy]):
    """The binary cross-entropies of all logits, summed."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        wanted = targets if targets.is_floating_point() else one_hot(targets, outputs.shape[1]).to(outputs.dtype)
        return binary_cross_entropy_with_logits(outputs, wanted, reduction="none").sum(1)

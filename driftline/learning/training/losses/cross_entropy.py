"""Cross-entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import CrossEntropy


class CrossEntropyLoss(LossFunction[CrossEntropy]):
    """``-log p(label)``, smoothed and weighted."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        weight = self._weight(outputs) if self.parameters.weights else None
        return cross_entropy(outputs, targets, weight, reduction="none", label_smoothing=self.parameters.smoothing)

    def _weight(self, outputs: Tensor) -> Tensor:
        found = outputs.new_ones(outputs.shape[1])
        known = self.parameters.weights[: len(found)]
        found[: len(known)] = outputs.new_tensor(known)
        return found

"""The margin of a multi-class support vector machine."""

from __future__ import annotations

from torch import Tensor

from driftline.learning.training.losses import LossFunction
from driftline.spec.parts.losses import Hinge


class HingeLoss(LossFunction[Hinge]):
    """What the label's logit lacks to be ``margin`` above the highest other one."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        labels = targets.unsqueeze(1)
        highest = outputs.scatter(1, labels, float("-inf")).amax(1)
        return (self.parameters.margin + highest - outputs.gather(1, labels).squeeze(1)).clamp_min(0)

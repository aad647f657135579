"""The margin of a multi-class support vector machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.losses import CLASSIFICATION, Loss

if TYPE_CHECKING:
    from torch import Tensor


class Hinge(Loss):
    """How far the label's logit is from ``margin`` above the highest other one (Crammer & Singer 2001)."""

    name: Literal["hinge"] = "hinge"
    margin: float = Field(1.0, gt=0, le=1000)
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        labels = targets.unsqueeze(1)
        highest = outputs.scatter(1, labels, float("-inf")).amax(1)
        return (self.margin + highest - outputs.gather(1, labels).squeeze(1)).clamp_min(0)

"""Cross-entropy in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.losses import CLASSIFICATION, Loss

if TYPE_CHECKING:
    from torch import Tensor

LOG_ZERO = -4.0
"""What stands for the logarithm of zero in the paper's experiments."""


class SymmetricCrossEntropy(Loss):
    """``alpha · H(label, p) + beta · H(p, label)``: learns from clean labels, and bears wrong ones (Wang et al. 2019)."""

    name: Literal["symmetric_cross_entropy"] = "symmetric_cross_entropy"
    alpha: float = Field(0.1, ge=0, le=100)
    beta: float = Field(1.0, ge=0, le=100)
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        surprise = cross_entropy(outputs, targets, reduction="none")
        return self.alpha * surprise + self.beta * LOG_ZERO * surprise.neg().expm1()

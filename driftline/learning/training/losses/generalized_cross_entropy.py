"""Between cross-entropy and mean absolute error."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.losses import CLASSIFICATION, Loss

if TYPE_CHECKING:
    from torch import Tensor


class GeneralizedCrossEntropy(Loss):
    """``(1 - p^q) / q``, which wrong labels pull less than cross-entropy (Zhang & Sabuncu 2018, equation 6).

    ``q`` near 0 is cross-entropy, 1 the absolute error.
    """

    name: Literal["generalized_cross_entropy"] = "generalized_cross_entropy"
    q: float = Field(0.7, ge=0.001, le=1)
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        surprise = cross_entropy(outputs, targets, reduction="none")
        return -(-self.q * surprise).expm1() / self.q

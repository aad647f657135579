"""Focal loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.losses import CLASSIFICATION, Loss

if TYPE_CHECKING:
    from torch import Tensor


class Focal(Loss):
    """``-(1 - p)^gamma log p``: what is easy counts less (Lin et al. 2017, equation 4)."""

    name: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=0, le=10)
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        surprise = cross_entropy(outputs, targets, reduction="none")
        # 1 - p by expm1, and never quite zero: the power's derivative there is infinite for gamma below 1.
        return (-surprise.neg().expm1()).clamp_min(1e-7) ** self.gamma * surprise

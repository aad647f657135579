"""A quantile of a regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.losses import REGRESSION, Loss

if TYPE_CHECKING:
    from torch import Tensor


class Quantile(Loss):
    """``max(q · (t - y), (q - 1) · (t - y))``: the answer is that ``quantile`` of the targets (Koenker & Bassett 1978)."""

    name: Literal["quantile"] = "quantile"
    quantile: float = Field(0.5, gt=0, lt=1)
    tasks: ClassVar[frozenset[str]] = REGRESSION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        import torch

        below = targets - outputs[:, 0]
        return torch.maximum(self.quantile * below, (self.quantile - 1) * below)

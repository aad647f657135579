"""Losses of a regression, in units of the target's running deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.losses import REGRESSION, Loss

if TYPE_CHECKING:
    from torch import Tensor


class SquaredError(Loss):
    """``(y - t)²``."""

    name: Literal["mse"] = "mse"
    tasks: ClassVar[frozenset[str]] = REGRESSION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        return (outputs[:, 0] - targets) ** 2


class AbsoluteError(Loss):
    """``|y - t|``."""

    name: Literal["mae"] = "mae"
    tasks: ClassVar[frozenset[str]] = REGRESSION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        return (outputs[:, 0] - targets).abs()


class Huber(Loss):
    """Quadratic up to ``delta``, linear beyond: outliers pull no harder than that (Huber 1964)."""

    name: Literal["huber"] = "huber"
    delta: float = Field(1.0, gt=0)
    tasks: ClassVar[frozenset[str]] = REGRESSION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        from torch.nn.functional import huber_loss

        return huber_loss(outputs[:, 0], targets, reduction="none", delta=self.delta)

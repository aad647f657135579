"""Pooling over images ``[channels, height, width]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.networks.layers import Layer

if TYPE_CHECKING:
    from torch import nn


def _check(shape: tuple[int, ...], kernel: int) -> None:
    if len(shape) != 3:
        raise ValueError(f"it needs rows [channels, height, width], not {list(shape)}")
    if kernel > min(shape[1:]):
        raise ValueError(f"a kernel of {kernel} is larger than the image {list(shape[1:])}")


class MaxPool(Layer):
    """The largest number of each ``kernel`` × ``kernel`` square."""

    type: Literal["max_pool"] = "max_pool"
    kernel: int = Field(2, ge=1)
    can_be_identity: ClassVar[bool] = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        _check(shape, self.kernel)
        return nn.MaxPool2d(self.kernel)


class AveragePool(Layer):
    """The mean of each ``kernel`` × ``kernel`` square; without ``kernel``, of the whole image."""

    type: Literal["average_pool"] = "average_pool"
    kernel: int | None = Field(None, ge=1)
    can_be_identity: ClassVar[bool] = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        _check(shape, self.kernel or 1)
        return nn.AvgPool2d(self.kernel) if self.kernel else nn.AdaptiveAvgPool2d(1)

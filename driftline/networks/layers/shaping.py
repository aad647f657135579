"""Layers that change the shape of a row, or nothing but for training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.networks.layers import Layer

if TYPE_CHECKING:
    from torch import nn


class Flatten(Layer):
    """One dimension of all."""

    type: Literal["flatten"] = "flatten"
    can_be_identity: ClassVar[bool] = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        return nn.Flatten() if shape else nn.Unflatten(0, (-1, 1))


class Reshape(Layer):
    """The same numbers as rows of another ``shape``."""

    type: Literal["reshape"] = "reshape"
    shape: list[int] = Field(min_length=1, max_length=6)
    can_be_identity: ClassVar[bool] = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        if math.prod(self.shape) != math.prod(shape):
            raise ValueError(f"{math.prod(shape)} numbers do not fill {self.shape}")
        return nn.Sequential(Flatten().build(shape), nn.Unflatten(1, tuple(self.shape)))


class Dropout(Layer):
    """Zeroes a ``share`` of the numbers while training (Srivastava et al. 2014)."""

    type: Literal["dropout"] = "dropout"
    share: float = Field(0.5, ge=0, lt=1)
    can_be_identity: ClassVar[bool] = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        return nn.Dropout(self.share)

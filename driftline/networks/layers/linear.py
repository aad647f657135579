"""The fully connected layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.layers import Layer

if TYPE_CHECKING:
    from torch import nn


class Linear(Layer):
    """``y = xW' + b`` over the last dimension."""

    type: Literal["linear"] = "linear"
    features: int = Field(ge=1, le=1_000_000)
    bias: bool = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        if not shape:
            raise ValueError("it needs rows of at least one dimension; flatten them first")
        return nn.Linear(shape[-1], self.features, self.bias)

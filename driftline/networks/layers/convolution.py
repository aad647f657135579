"""Convolution over images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.layers import Layer

if TYPE_CHECKING:
    from torch import nn


class Conv2d(Layer):
    """Two-dimensional convolution of rows ``[channels, height, width]``; ``[height, width]`` has one channel."""

    type: Literal["conv2d"] = "conv2d"
    channels: int = Field(ge=1, le=100_000)
    kernel: int = Field(3, ge=1, le=1000)
    stride: int = Field(1, ge=1, le=1000)
    padding: int | Literal["same", "valid"] = "same"
    bias: bool = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        if len(shape) != 3:
            raise ValueError(f"it needs rows [channels, height, width] or [height, width], not {list(shape)}")
        if self.padding == "same" and self.stride > 1:
            raise ValueError('padding "same" needs a stride of 1; give the padding as a number')
        return nn.Conv2d(shape[0], self.channels, self.kernel, self.stride, self.padding, bias=self.bias)

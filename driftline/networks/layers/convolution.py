"""Convolution over images."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.networks.layers import Adaptable

if TYPE_CHECKING:
    from torch import nn


class Conv2d(Adaptable):
    """Two-dimensional convolution of rows ``[channels, height, width]``; ``[height, width]`` has one channel."""

    type: Literal["conv2d"] = "conv2d"
    channels: int = Field(ge=1, le=100_000)
    kernel: int = Field(3, ge=1, le=1000)
    stride: int = Field(1, ge=1, le=1000)
    padding: int | Literal["same", "valid"] = "same"
    bias: bool = True
    units: ClassVar[str | None] = "channels"
    can_be_identity: ClassVar[bool] = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        if len(shape) != 3:
            raise ValueError(f"it needs rows [channels, height, width] or [height, width], not {list(shape)}")
        if self.padding == "same" and self.stride > 1:
            raise ValueError('padding "same" needs a stride of 1; give the padding as a number')
        return nn.Conv2d(shape[0], self.channels, self.kernel, self.stride, self.padding, bias=self.bias)

    def make_identity(self, module: nn.Module) -> None:
        import torch
        from torch import nn

        assert isinstance(module, nn.Conv2d)
        if self.stride > 1:
            raise ValueError(f"a convolution with a stride of {self.stride} cannot start as identity")
        # Torch pads an even kernel by one less in front, so the middle is the lower of the two.
        middle = (self.kernel - 1) // 2 if self.padding == "same" else int(module.padding[0])
        with torch.no_grad():
            module.weight.zero_()
            module.weight[:, :, middle, middle] = torch.eye(self.channels)
            if module.bias is not None:
                module.bias.zero_()

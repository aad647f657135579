"""Convolution over images."""

from __future__ import annotations

import torch
from torch import nn

from driftline.networks.layers import LayerBuilder
from driftline.spec.parts.layers import Conv2d


class Conv2dBuilder(LayerBuilder[Conv2d]):
    """Two-dimensional convolution."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        layer = self.parameters
        if len(shape) != 3:
            raise ValueError(f"it needs rows [channels, height, width] or [height, width], not {list(shape)}")
        if layer.padding == "same" and layer.stride > 1:
            raise ValueError('padding "same" needs a stride of 1; give the padding as a number')
        return nn.Conv2d(shape[0], layer.channels, layer.kernel, layer.stride, layer.padding, bias=layer.bias)

    def make_identity(self, module: nn.Module) -> None:
        assert isinstance(module, nn.Conv2d)
        layer = self.parameters
        if layer.stride > 1:
            raise ValueError(f"a convolution with a stride of {layer.stride} cannot start as identity")
        # Torch pads an even kernel by one less in front, so the middle is the lower of the two.
        middle = (layer.kernel - 1) // 2 if layer.padding == "same" else int(module.padding[0])
        with torch.no_grad():
            module.weight.zero_()
            module.weight[:, :, middle, middle] = torch.eye(layer.channels)
            if module.bias is not None:
                module.bias.zero_()

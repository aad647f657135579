"""Pooling over images ``[channels, height, width]``."""

from __future__ import annotations

from torch import nn

from driftline.networks.layers import LayerBuilder
from driftline.spec.parts.layers import AveragePool, MaxPool


def _check(shape: tuple[int, ...], kernel: int) -> None:
    if len(shape) != 3:
        raise ValueError(f"it needs rows [channels, height, width], not {list(shape)}")
    if kernel > min(shape[1:]):
        raise ValueError(f"a kernel of {kernel} is larger than the image {list(shape[1:])}")


class MaxPoolBuilder(LayerBuilder[MaxPool]):
    """The largest number of each square."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        _check(shape, self.parameters.kernel)
        return nn.MaxPool2d(self.parameters.kernel)


class AveragePoolBuilder(LayerBuilder[AveragePool]):
    """The mean of each square, or of the whole image."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        kernel = self.parameters.kernel
        _check(shape, kernel or 1)
        return nn.AvgPool2d(kernel) if kernel else nn.AdaptiveAvgPool2d(1)

"""Layers that change the shape of a row, or nothing but for training."""

from __future__ import annotations

import math

from torch import nn

from driftline.networks.layers import LayerBuilder
from driftline.spec.parts.layers import Dropout, Flatten, Reshape


def _flattening(shape: tuple[int, ...]) -> nn.Module:
    return nn.Flatten() if shape else nn.Unflatten(0, (-1, 1))


class FlattenBuilder(LayerBuilder[Flatten]):
    """One dimension of all."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        return _flattening(shape)


class ReshapeBuilder(LayerBuilder[Reshape]):
    """The same numbers as rows of another shape."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        target = self.parameters.shape
        if math.prod(target) != math.prod(shape):
            raise ValueError(f"{math.prod(shape)} numbers do not fill {target}")
        return nn.Sequential(_flattening(shape), nn.Unflatten(1, tuple(target)))


class DropoutBuilder(LayerBuilder[Dropout]):
    """Zeroes a share of the numbers while training."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        return nn.Dropout(self.parameters.share)

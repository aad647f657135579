"""From a layer's parameters to its module, one file a kind of layer."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from driftline.spec.parts.layers import Layer
from driftline.spec.registry import Behaviour, Behaviours

L = TypeVar("L", bound=Layer)


class LayerBuilder(Behaviour[L]):
    """Makes the module of a layer."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """The module for rows of ``shape`` (without the batch); :class:`ValueError` says why it cannot take them."""
        raise NotImplementedError

    def make_identity(self, module: nn.Module) -> None:
        """Sets the weights of a module that :meth:`build` gave, for rows that keep their shape."""


LAYER_BUILDERS: Behaviours[Layer, LayerBuilder[Any]] = Behaviours(LayerBuilder, __name__)


def builder(layer: Layer) -> LayerBuilder[Any]:
    """What makes the module of ``layer``."""
    return LAYER_BUILDERS.of(layer)(layer)

"""The fully connected layer."""

from __future__ import annotations

from torch import nn

from driftline.networks.layers import LayerBuilder
from driftline.spec.parts.layers import Linear


class LinearBuilder(LayerBuilder[Linear]):
    """``y = xW' + b`` over the last dimension."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        if not shape:
            raise ValueError("it needs rows of at least one dimension; flatten them first")
        return nn.Linear(shape[-1], self.parameters.features, self.parameters.bias)

    def make_identity(self, module: nn.Module) -> None:
        assert isinstance(module, nn.Linear)
        nn.init.eye_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

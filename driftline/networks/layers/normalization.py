"""Normalisation."""

from __future__ import annotations

from torch import nn

from driftline.networks.layers import LayerBuilder
from driftline.spec.parts.layers import BatchNorm, LayerNorm


class BatchNormBuilder(LayerBuilder[BatchNorm]):
    """Batch normalisation over the first dimension of a row."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        kinds: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d}
        if len(shape) not in kinds:
            raise ValueError(f"it needs rows of one to three dimensions, not {list(shape)}")
        return kinds[len(shape)](shape[0])

    def make_identity(self, module: nn.Module) -> None:
        assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        module.reset_parameters()
        # The running variance starts at 1, to which eps is added under the root.
        nn.init.constant_(module.weight, (1 + module.eps) ** 0.5)


class LayerNormBuilder(LayerBuilder[LayerNorm]):
    """Layer normalisation over the last dimension."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        if not shape:
            raise ValueError("it needs rows of at least one dimension")
        return nn.LayerNorm(shape[-1])

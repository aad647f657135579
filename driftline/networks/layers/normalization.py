"""Normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from driftline.networks.layers import Layer

if TYPE_CHECKING:
    from torch import nn


class BatchNorm(Layer):
    """Batch normalisation over the first dimension of a row (Ioffe & Szegedy 2015)."""

    type: Literal["batch_norm"] = "batch_norm"
    can_be_identity: ClassVar[bool] = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        kinds: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d}
        if len(shape) not in kinds:
            raise ValueError(f"it needs rows of one to three dimensions, not {list(shape)}")
        return kinds[len(shape)](shape[0])

    def make_identity(self, module: nn.Module) -> None:
        from torch import nn

        assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        module.reset_parameters()
        # The running variance starts at 1, to which eps is added under the root.
        nn.init.constant_(module.weight, (1 + module.eps) ** 0.5)


class LayerNorm(Layer):
    """Layer normalisation over the last dimension (Ba et al. 2016)."""

    type: Literal["layer_norm"] = "layer_norm"

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        if not shape:
            raise ValueError("it needs rows of at least one dimension")
        return nn.LayerNorm(shape[-1])

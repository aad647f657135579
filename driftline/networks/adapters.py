"""Adapters of low rank on the weights of linear and convolution layers."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """``W + up · down`` (LoRA, Hu et al. 2021, equation 3, with a scale of 1). ``up`` starts at zero, so nothing changes.

    ``down`` has the shape ``[rank, *inputs]``, ``up`` ``[units, rank]``. ``was_trained``: whether the weight was, before.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.was_trained = weight.requires_grad
        self.down = nn.Parameter(weight.new_empty((rank, *weight.shape[1:])))
        self.up = nn.Parameter(weight.new_zeros((len(weight), rank)))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down.flatten(1)).reshape(weight.shape)


def can_have(module: nn.Module) -> bool:
    """Whether a module has a weight for an adapter."""
    return parametrize.type_before_parametrizations(module) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def adapter_of(module: nn.Module) -> LowRank | None:
    """The adapter that a module has."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    found = module.parametrizations["weight"][0]  # type: ignore[index]
    return found if isinstance(found, LowRank) else None


def adapt(module: nn.Module, rank: int) -> None:
    """Freezes a module, and gives it an adapter; :class:`ValueError` where it cannot have one of this rank."""
    if not can_have(module):
        raise ValueError(f"a {type(module).__name__} takes no adapter; linear and convolution layers do")
    if parametrize.is_parametrized(module):
        raise ValueError("it has an adapter already; merge_adapters puts it into the weight")
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    most = min(len(weight), weight[0].numel())
    if rank > most:
        raise ValueError(f"an adapter of rank {rank} is more than its weight has: {most}")
    adapter = LowRank(weight, rank)
    module.requires_grad_(False)
    parametrize.register_parametrization(module, "weight", adapter)


def merged_weight(module: nn.Module) -> Tensor:
    """The weight with its adapter in it, as it is used."""
    assert isinstance(module.weight, Tensor)
    return module.weight.detach()


def merge(module: nn.Module) -> None:
    """Puts a module's adapter into its weight, which is trained again if it was before."""
    adapter = adapter_of(module)
    assert adapter is not None
    weight = nn.Parameter(merged_weight(module))
    # Not by remove_parametrizations: it takes the weight from a class that copies of the module share.
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    module.register_parameter("weight", weight)
    module.requires_grad_(adapter.was_trained)

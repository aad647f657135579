"""Adapters of low rank on the weights of layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """``W + up · down`` (LoRA, Hu et al. 2021, equation 3, with a scale of 1). ``up`` starts at zero, so nothing changes.

    ``down`` has the shape ``[rank, *inputs]``, ``up`` ``[units, rank]``. ``was_trained``: whether the weight was, before. The
    sum is computed for those layers alone that need it (:data:`BESIDE`).
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.was_trained = weight.requires_grad
        self.down = nn.Parameter(weight.new_empty((rank, *weight.shape[1:])))
        self.up = nn.Parameter(weight.new_zeros((len(weight), rank)))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down.flatten(1)).reshape(weight.shape)


def _linear(layer: Any, rows: Tensor) -> Tensor:
    own, adapter = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
    through: Tensor = functional.linear(functional.linear(rows, adapter.down), adapter.up)
    return functional.linear(rows, own, layer.bias) + through


def _convolution(layer: Any, rows: Tensor) -> Tensor:
    own, adapter = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
    through: Tensor = layer._conv_forward(rows, adapter.down, None)
    channels = through.dim() + 1 - own.dim()  # The dimension that has them: an image by itself is no batch.
    up = functional.linear(through.movedim(channels, -1), adapter.up).movedim(-1, channels)
    found: Tensor = layer._conv_forward(rows, own, layer.bias) + up
    return found


def _embedding(layer: Any, numbers: Tensor) -> Tensor:
    own, adapter = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
    through: Tensor = functional.embedding(numbers, adapter.up, layer.padding_idx) @ adapter.down
    return functional.embedding(numbers, own) + through


BESIDE: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.Embedding: _embedding,
}
"""What a layer with an adapter gives, without the matrix that is the sum of both: each pass would compute that again, and each
update its gradient, which is as large as the frozen weight."""

PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
ADAPTABLE = (*PLAIN, nn.Embedding, nn.MultiheadAttention)


def weight_name(module: nn.Module) -> str:
    """Which parameter of a module an adapter is for: of attention that which gives queries, keys and values."""
    return "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"


def can_have(module: nn.Module) -> bool:
    """Whether a module has a weight for an adapter."""
    kind = parametrize.type_before_parametrizations(module)
    # Transformers' Conv1D is a linear layer whose weight lies the other way.
    if not issubclass(kind, ADAPTABLE) and kind.__name__ != "Conv1D":
        return False
    if isinstance(module, nn.Embedding) and (module.sparse or module.max_norm is not None):
        return False  # Its gradient is no whole matrix, or it writes its weight in a forward pass.
    weight = getattr(module, weight_name(module), None)
    return isinstance(weight, Tensor) and weight.dim() > 1 and weight.is_floating_point()


def is_plain(module: nn.Module) -> bool:
    """Whether this is one of the layers that get adapters where none are named: an edit means the same for good."""
    return parametrize.type_before_parametrizations(module) in PLAIN


def most_rank(module: nn.Module) -> int:
    """The largest rank that an adapter of a module's weight can have."""
    weight: Tensor = getattr(module, weight_name(module))
    return min(len(weight), weight[0].numel())


def adapter_of(module: nn.Module) -> LowRank | None:
    """The adapter that a module has."""
    name = weight_name(module)
    if not parametrize.is_parametrized(module, name):
        return None
    found = module.parametrizations[name][0]  # type: ignore[index]
    return found if isinstance(found, LowRank) else None


def adapt(module: nn.Module, rank: int) -> None:
    """Freezes a module's own weights, and gives it an adapter; :class:`ValueError` where it cannot have one of this rank."""
    if not can_have(module):
        raise ValueError(
            f"a {type(module).__name__} takes no adapter; linear and convolution layers, embeddings and attention do"
        )
    if parametrize.is_parametrized(module):
        raise ValueError("it has an adapter already; merge_adapters puts it into the weight")
    name, most = weight_name(module), most_rank(module)
    if rank > most:
        raise ValueError(f"an adapter of rank {rank} is more than its weight has: {most}")
    adapter = LowRank(getattr(module, name), rank)
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad_(False)
    forward = _beside(module)
    parametrize.register_parametrization(module, name, adapter)
    if forward is not None:
        type(module).forward = forward  # Of this module and of its copies alone.


def _beside(module: nn.Module) -> Callable[[Any, Tensor], Tensor] | None:
    """How a layer computes with its adapter beside its weight; None where the weight has to be whole."""
    kind = next((kind for kind in BESIDE if type(module).forward is kind.forward), None)
    if kind is None or getattr(module, "groups", 1) > 1 or getattr(module, "scale_grad_by_freq", False):
        return None
    return BESIDE[kind]


def merged_weight(module: nn.Module) -> Tensor:
    """The weight with its adapter in it, as it is used."""
    weight: Tensor = getattr(module, weight_name(module))
    return weight.detach()


def merge(module: nn.Module) -> None:
    """Puts a module's adapter into its weight, which is trained again if it was before."""
    adapter = adapter_of(module)
    assert adapter is not None
    weight, name = nn.Parameter(merged_weight(module)), weight_name(module)
    # Not by remove_parametrizations: it takes the weight from a class that copies of the module share.
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    module.register_parameter(name, weight)
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad_(adapter.was_trained)


def freeze_all_else(network: nn.Module) -> None:
    """Leaves nothing of a network to be trained but its adapters."""
    trained = {id(own) for part in network.modules() if isinstance(part, LowRank) for own in part.parameters()}
    for parameter in network.parameters():
        if id(parameter) not in trained:
            parameter.requires_grad_(False)

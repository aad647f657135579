"""Two layers as one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from driftline.networks.adapters import adapter_of
from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.structure.base import Structure
from driftline.networks.unit_flow import CONVOLUTIONS, followers
from driftline.spec.parts.edits.layers import Merge


class MergeEdit(EditBehaviour[Merge]):
    """Makes one of two neighbouring layers."""

    def restructure(self, structure: Structure) -> None:
        first, second = self.parameters.layers
        following = [path for path, _ in followers(structure.network, structure.path(first))]
        if structure.path(second) not in following[:1]:
            raise ValueError(f"{second!r} does not stand right behind {first!r}")
        one, two = structure.module(first), structure.module(second)
        _check(structure, self.parameters.layers)
        has_bias = isinstance(two, _BatchNorm) or any(getattr(part, "bias", None) is not None for part in (one, two))
        structure.absorb(first, second, has_bias)

    def fill(self, session: EditSession) -> None:
        path, gone = (session.path(layer) for layer in self.parameters.layers)
        one, two = (session.before.network.get_submodule(layer) for layer in (path, gone))
        with torch.no_grad():
            weight, bias = _folded(one, two) if isinstance(two, _BatchNorm) else _product(one, two)
        session.set(f"network.{path}.weight", weight)
        if bias is not None:
            session.set(f"network.{path}.bias", bias)
        for name in ("weight", "bias"):
            session.forget(f"network.{path}.{name}")


def _check(structure: Structure, layers: list[str]) -> None:
    """Whether the modules can be one."""
    one, two = (structure.module(layer) for layer in layers)
    for layer, module in zip(layers, (one, two), strict=True):
        if adapter_of(module) is not None:
            raise ValueError(f"{layer!r} has an adapter; merge_adapters puts it into the weight")
    shape = structure.shapes()[structure.path(layers[0])]
    if isinstance(one, nn.Linear) and isinstance(two, nn.Linear):
        return
    is_of_units = isinstance(one, CONVOLUTIONS) or (isinstance(one, nn.Linear) and len(shape) == 1)
    if not (is_of_units and isinstance(two, _BatchNorm) and two.running_mean is not None):
        kinds = f"{layers[0]!r}, a {type(one).__name__}, and {layers[1]!r}, a {type(two).__name__},"
        raise ValueError(
            f"{kinds} do not make one layer; two linear ones do, and a batch_norm behind its linear or conv2d"
        )


def _weights(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in float64."""
    weight, bias = module.get_parameter("weight"), dict(module.named_parameters()).get("bias")
    return weight.double(), None if bias is None else bias.double()


def _product(one: nn.Module, two: nn.Module) -> tuple[Tensor, Tensor | None]:
    """W₂(W₁x + b₁) + b₂."""
    (first, inner), (second, outer) = _weights(one), _weights(two)
    if inner is not None:
        outer = second @ inner if outer is None else second @ inner + outer
    return second @ first, outer


def _folded(one: nn.Module, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """γ(Wx + b − μ)/√(σ² + ε) + β."""
    weight, bias = _weights(one)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt() * (norm.weight.double() if norm.affine else 1.0)
    shift = (0.0 if bias is None else bias) - norm.running_mean.double()
    return weight * scale.reshape(-1, *(1,) * (weight.dim() - 1)), shift * scale + (
        norm.bias.double() if norm.affine else 0.0
    )

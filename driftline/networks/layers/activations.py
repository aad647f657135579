"""Activations: the same function of every number."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from torch import nn

from driftline.networks.layers import LayerBuilder, builder
from driftline.networks.modules import Blended
from driftline.spec.parts.layers import (
    Activation,
    Elu,
    Gelu,
    LeakyRelu,
    Prelu,
    Relu,
    Sigmoid,
    Silu,
    Softplus,
    Tanh,
)

A = TypeVar("A", bound=Activation)


class ActivationBuilder(LayerBuilder[A]):
    """An elementwise function; ``module`` is torch's. With ``blend`` it starts as another one."""

    module: ClassVar[type[nn.Module]]

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        new, blend = self.module(**self.arguments()), self.parameters.blend
        return Blended(builder(blend.old).build(shape), new, blend.steps) if blend else new

    def arguments(self) -> dict[str, float]:
        """The parameters of the function."""
        return {name: value for name, value in self.parameters if name not in Activation.model_fields}


class ReluBuilder(ActivationBuilder[Relu]):
    module = nn.ReLU


class LeakyReluBuilder(ActivationBuilder[LeakyRelu]):
    module = nn.LeakyReLU


class PreluBuilder(ActivationBuilder[Prelu]):
    module = nn.PReLU

    def make_identity(self, module: nn.Module) -> None:
        assert isinstance(module, nn.PReLU)
        nn.init.ones_(module.weight)


class EluBuilder(ActivationBuilder[Elu]):
    module = nn.ELU


class GeluBuilder(ActivationBuilder[Gelu]):
    module = nn.GELU


class SiluBuilder(ActivationBuilder[Silu]):
    module = nn.SiLU


class TanhBuilder(ActivationBuilder[Tanh]):
    module = nn.Tanh


class SigmoidBuilder(ActivationBuilder[Sigmoid]):
    module = nn.Sigmoid


class SoftplusBuilder(ActivationBuilder[Softplus]):
    module = nn.Softplus

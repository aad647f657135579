"""Activations: the same function of every number."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.networks.layers import Layer

if TYPE_CHECKING:
    from torch import nn


class Activation(Layer):
    """An elementwise function; ``module`` is its name in ``torch.nn``."""

    module: ClassVar[str]

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        module: nn.Module = getattr(nn, self.module)(**self.arguments())
        return module

    def arguments(self) -> dict[str, float]:
        """The parameters of the function."""
        return {name: value for name, value in self if name not in ("type", "name")}


class Relu(Activation):
    type: Literal["relu"] = "relu"
    module: ClassVar[str] = "ReLU"


class LeakyRelu(Activation):
    type: Literal["leaky_relu"] = "leaky_relu"
    negative_slope: float = Field(0.01, ge=0, le=1)
    module: ClassVar[str] = "LeakyReLU"


class Prelu(Activation):
    type: Literal["prelu"] = "prelu"
    module: ClassVar[str] = "PReLU"


class Elu(Activation):
    type: Literal["elu"] = "elu"
    alpha: float = Field(1.0, gt=0)
    module: ClassVar[str] = "ELU"


class Gelu(Activation):
    type: Literal["gelu"] = "gelu"
    module: ClassVar[str] = "GELU"


class Silu(Activation):
    type: Literal["silu"] = "silu"
    module: ClassVar[str] = "SiLU"


class Tanh(Activation):
    type: Literal["tanh"] = "tanh"
    module: ClassVar[str] = "Tanh"


class Sigmoid(Activation):
    type: Literal["sigmoid"] = "sigmoid"
    module: ClassVar[str] = "Sigmoid"


class Softplus(Activation):
    type: Literal["softplus"] = "softplus"
    module: ClassVar[str] = "Softplus"

"""Activations: the same function of every number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from driftline.networks.layers import LAYERS, Layer
from driftline.registry import Part

if TYPE_CHECKING:
    from torch import nn


def _layer(value: Any) -> Any:
    return value if isinstance(value, Layer) else LAYERS.parse(value)


class Blend(Part):
    """What an activation was before, and in how many updates it becomes what it is."""

    old: Annotated[SerializeAsAny[Layer], BeforeValidator(_layer)]
    steps: int = Field(ge=1, le=10_000_000)


class Activation(Layer):
    """An elementwise function; ``module`` is its name in ``torch.nn``. With ``blend`` it starts as another one."""

    blend: Blend | None = None
    module: ClassVar[str]

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        from driftline.networks.modules import Blended

        new: nn.Module = getattr(nn, self.module)(**self.arguments())
        return Blended(self.blend.old.build(shape), new, self.blend.steps) if self.blend else new

    def arguments(self) -> dict[str, float]:
        """The parameters of the function."""
        return {name: value for name, value in self if name not in Activation.model_fields}


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
    can_be_identity: ClassVar[bool] = True

    def make_identity(self, module: nn.Module) -> None:
        from torch import nn

        assert isinstance(module, nn.PReLU)
        nn.init.ones_(module.weight)


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

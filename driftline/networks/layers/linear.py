"""The fully connected layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.networks.layers import Adaptable

if TYPE_CHECKING:
    from torch import nn


class Linear(Adaptable):
    """``y = xW' + b`` over the last dimension."""

    type: Literal["linear"] = "linear"
    features: int = Field(ge=1, le=1_000_000)
    bias: bool = True
    units: ClassVar[str | None] = "features"
    can_be_identity: ClassVar[bool] = True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from torch import nn

        if not shape:
            raise ValueError("it needs rows of at least one dimension; flatten them first")
        return nn.Linear(shape[-1], self.features, self.bias)

    def make_identity(self, module: nn.Module) -> None:
        from torch import nn

        assert isinstance(module, nn.Linear)
        nn.init.eye_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

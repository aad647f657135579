"""Torch's optimizers by name, each with the parameters that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from driftline.registry import Part

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

TORCH_NAMES = {
    "adagrad": "Adagrad",
    "adam": "Adam",
    "adamax": "Adamax",
    "adamw": "AdamW",
    "nadam": "NAdam",
    "radam": "RAdam",
    "rmsprop": "RMSprop",
    "sgd": "SGD",
}
HAS_MOMENTUM = {"sgd", "rmsprop"}


class Optimizer(Part):
    """How the weights follow the gradient. ``clip`` bounds the gradient's norm before each update."""

    name: Literal["adagrad", "adam", "adamax", "adamw", "nadam", "radam", "rmsprop", "sgd"] = "adamw"
    learning_rate: float = Field(0.003, gt=0, le=100)
    weight_decay: float | None = Field(None, ge=0, le=10)
    momentum: float | None = Field(None, ge=0, lt=1)
    clip: float | None = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _has_its_parameters(self) -> Optimizer:
        if self.momentum is not None and self.name not in HAS_MOMENTUM:
            raise ValueError(f"{self.name} has no momentum; {' and '.join(sorted(HAS_MOMENTUM))} have")
        return self

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a module's trainable parameters."""
        import torch

        options = {"weight_decay": self.weight_decay, "momentum": self.momentum}
        given = {name: value for name, value in options.items() if value is not None}
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        kind = getattr(torch.optim, TORCH_NAMES[self.name])
        optimizer: torch.optim.Optimizer = kind(parameters, lr=self.learning_rate, foreach=True, **given)
        return optimizer


def state_of(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """The optimizer's state as tensors named ``parameter.quantity``; ``names`` are its parameters, in its order."""
    import torch

    found: dict[str, Tensor] = {}
    for name, parameter in zip(names, _parameters(optimizer), strict=True):
        for quantity, value in optimizer.state.get(parameter, {}).items():
            found[f"{name}.{quantity}"] = (
                value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.float64)
            )
    return found


def load_state(optimizer: torch.optim.Optimizer, names: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """Sets the state that :func:`state_of` gave; what it does not hold starts anew."""
    for name, parameter in zip(names, _parameters(optimizer), strict=True):
        state: dict[str, Any] = {}
        for key, value in tensors.items():
            owner, _, quantity = key.rpartition(".")
            if owner == name:
                is_number = value.dim() == 0 and str(value.dtype) == "torch.float64"
                state[quantity] = value.item() if is_number else value.clone()
        if state:
            optimizer.state[parameter] = state


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]

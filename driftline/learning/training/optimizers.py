"""Torch's optimizers by name, each with the parameters that it has, and the rate of each layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from driftline.learning.training.layer_learning_rates import layer_rates
from driftline.learning.training.schedules import SCHEDULES, Schedule
from driftline.registry import Part

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    ScheduleField: TypeAlias = Schedule
else:
    ScheduleField = SCHEDULES.field()

TORCH_NAMES = {
    "adadelta": "Adadelta",
    "adagrad": "Adagrad",
    "adam": "Adam",
    "adamax": "Adamax",
    "adamw": "AdamW",
    "asgd": "ASGD",
    "nadam": "NAdam",
    "radam": "RAdam",
    "rmsprop": "RMSprop",
    "rprop": "Rprop",
    "sgd": "SGD",
}
HAS_MOMENTUM = {"sgd", "rmsprop"}
FUSED = {"adam", "adamw"}
"""Those that torch can do in one call, which takes a third of the time."""


class Optimizer(Part):
    """How the weights follow the gradient. ``clip`` bounds the gradient's norm before each update.

    ``layers`` multiplies the rate of layers by name, 0 freezes them; ``discriminative`` lets each earlier layer learn at that
    fraction of the one behind it (Howard & Ruder 2018).
    """

    name: Literal[
        "adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd"
    ] = "adamw"
    learning_rate: float = Field(0.003, gt=0, le=100)
    weight_decay: float | None = Field(None, ge=0, le=10)
    momentum: float | None = Field(None, ge=0, lt=1)
    nesterov: bool = False
    clip: float | None = Field(10.0, gt=0)
    layers: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field({}, max_length=1000)
    discriminative: float | None = Field(None, gt=0, le=1)
    schedule: ScheduleField = Field(default_factory=lambda: SCHEDULES.parse("constant"))

    @field_validator("layers", mode="before")
    @classmethod
    def _none_is_no_layer(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _has_its_parameters(self) -> Optimizer:
        if self.momentum is not None and self.name not in HAS_MOMENTUM:
            raise ValueError(f"{self.name} has no momentum; {' and '.join(sorted(HAS_MOMENTUM))} have")
        if self.nesterov and not (self.name == "sgd" and self.momentum):
            raise ValueError("nesterov needs sgd with a momentum; nadam is Adam with it")
        if self.name == "rprop" and (self.weight_decay is not None or self.schedule.name != "constant"):
            raise ValueError("rprop has a rate of its own for each weight: it takes no weight_decay and no schedule")
        return self

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a module's trainable parameters, those of the same rate in a group.

        Raises:
            InvalidInput: ``layers`` names one that there is not, or leaves nothing to train.
        """
        import torch

        given: dict[str, Any] = {"weight_decay": self.weight_decay, "momentum": self.momentum}
        given = {name: value for name, value in given.items() if value is not None}
        if self.nesterov:
            given["nesterov"] = True
        trained = self.trained(module)
        groups = [
            {"params": [parameter for parameter, _ in group], "share": share}
            for share, group in groupby(trained.values(), key=itemgetter(1))
        ]
        kind = getattr(torch.optim, TORCH_NAMES[self.name])
        are_real = all(parameter.is_floating_point() for parameter, _ in trained.values())
        given["fused" if self.name in FUSED and are_real else "foreach"] = True
        optimizer: torch.optim.Optimizer = kind(groups, lr=self.learning_rate, **given)
        self.set_rate(optimizer, self.learning_rate)
        return optimizer

    def trained(self, module: nn.Module) -> dict[str, tuple[nn.Parameter, float]]:
        """What is trained, by name in the optimizer's order, each with its share of the learning rate."""
        return layer_rates(module, self.layers, self.discriminative)

    def set_rate(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        """Sets the rate of an optimizer that :meth:`build` gave; each group has its share of it."""
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]

    def continues(self, before: Optimizer) -> bool:
        """Whether this one can go on from the state of the one ``before`` it."""
        return self.name == before.name and bool(self.momentum) == bool(before.momentum)


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


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])

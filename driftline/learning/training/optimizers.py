"""Torch's optimizers by name, each with the parameters that it has, and the rate of each layer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from driftline.learning.training.layer_learning_rates import layer_rates
from driftline.learning.training.row_optimizers import BY_ROWS, with_rows
from driftline.networks import row_history
from driftline.networks.row_table import row_tables
from driftline.spec.parts.optimizer import Optimizer
from driftline.spec.registry import Behaviour

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
FUSED = {"adam", "adamw"}
"""Those that torch can do in one call, which takes a third of the time."""

WRAPPED = ("add_param_group", "step")


class OptimizerFactory(Behaviour[Optimizer]):
    """Makes torch's optimizer of a recipe."""

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a module's trainable parameters, those of the same rate in a group.

        Raises:
            InvalidInput: ``layers`` names one that there is not, or leaves nothing to train.
        """
        recipe = self.parameters
        given: dict[str, Any] = {"weight_decay": recipe.weight_decay, "momentum": recipe.momentum}
        given = {name: value for name, value in given.items() if value is not None}
        if recipe.nesterov:
            given["nesterov"] = True
        trained = self.trained(module)
        tables = {id(table) for _, table in row_tables(module)}
        groups = [
            {"params": [parameter for parameter, _ in group], "share": share, **({BY_ROWS: True} if by_rows else {})}
            for (share, by_rows), group in groupby(trained.values(), lambda each: (each[1], id(each[0]) in tables))
        ]
        kind: Any = uncompiled(getattr(torch.optim, TORCH_NAMES[recipe.name]))
        if tables:
            kind = with_rows(kind, recipe.name)
        are_real = all(parameter.is_floating_point() for parameter, _ in trained.values())
        given["fused" if recipe.name in FUSED and are_real else "foreach"] = True
        optimizer: torch.optim.Optimizer = kind(groups, lr=recipe.learning_rate, **given)
        self.set_rate(optimizer, recipe.learning_rate)
        return optimizer

    def trained(self, module: nn.Module) -> dict[str, tuple[nn.Parameter, float]]:
        """What is trained, by name in the optimizer's order, each with its share of the learning rate."""
        return layer_rates(module, self.parameters.layers, self.parameters.discriminative)

    def set_rate(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        """Sets the rate of an optimizer that :meth:`build` gave; each group has its share of it."""
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]


@cache
def uncompiled(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The same optimizer, as it is below what torch wraps its methods in.

    The wrappers keep ``torch.compile`` out of them, and load the compiler for that: a second and 70 MB in every process that
    learns, although nothing here compiles an optimizer.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(methods["step"])})


def state_of(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """The optimizer's state as tensors named ``parameter.quantity``; ``names`` are its parameters, in its order."""
    found: dict[str, Tensor] = {}
    for name, parameter in zip(names, _parameters(optimizer), strict=True):
        for quantity, value in optimizer.state.get(parameter, {}).items():
            found[f"{name}.{quantity}"] = (
                value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.float64)
            )
    return found


def load_state(optimizer: torch.optim.Optimizer, names: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """Sets the state that :func:`state_of` gave; what it does not hold starts again."""
    for name, parameter in zip(names, _parameters(optimizer), strict=True):
        state: dict[str, Any] = {}
        for key, value in tensors.items():
            owner, _, quantity = key.rpartition(".")
            if owner == name:
                is_number = value.dim() == 0 and value.dtype == torch.float64
                state[quantity] = value.item() if is_number else _where_it_belongs(value, parameter, optimizer)
        if state:
            optimizer.state[parameter] = state


def _where_it_belongs(value: Tensor, parameter: nn.Parameter, optimizer: torch.optim.Optimizer) -> Tensor:
    """A copy of a quantity, which is beside its parameter; a count of steps is so only where all is done in one call."""
    is_beside = value.dim() > 0 or bool(optimizer.defaults.get("fused"))
    if not is_beside:
        return value.clone()
    found = value.detach().clone().to(parameter.device)
    row_history.inherit(found, value)
    return found


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])

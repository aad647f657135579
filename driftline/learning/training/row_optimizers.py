"""Optimizers of tables with a sparse gradient: an update changes the rows of its batch alone.

Torch's own ``SparseAdam`` corrects the bias of a row's moments by the updates of the whole table, so that a row that comes for
the first time late takes a step three times too large (``(1 - β₁) / √(1 - β₂)``), and has no weight decay. Here each row counts
the updates that it was in: one that is in all of them follows the dense optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from driftline.networks import row_history

State: TypeAlias = dict[str, Any]
Settings: TypeAlias = dict[str, Any]
RowUpdate: TypeAlias = "Callable[[Tensor, Tensor, Tensor, State, Settings], None]"
"""Follows the gradient ``[rows, features]`` of some rows of a table, by their indices ``[rows]``."""

BY_ROWS = "by_rows"
"""Marks the groups of an optimizer that are updated by rows."""


def _adam(table: Tensor, rows: Tensor, gradient: Tensor, state: State, settings: Settings) -> None:
    """Kingma & Ba 2015, algorithm 1; the weight decay is added to the gradient."""
    if settings["weight_decay"]:
        gradient = gradient + settings["weight_decay"] * table[rows]
    if not state:
        state["updates"] = table.new_zeros((len(table), 1))
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
    first, second = settings["betas"]
    updates = state["updates"][rows] + 1
    mean = state["exp_avg"][rows].lerp_(gradient, 1 - first)
    square = state["exp_avg_sq"][rows].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    state["updates"][rows], state["exp_avg"][rows], state["exp_avg_sq"][rows] = updates, mean, square
    # A power of a number close to 1 needs all its digits.
    corrections = [(1 - beta ** updates.double()).to(table.dtype) for beta in (first, second)]
    deviation = (square / corrections[1]).sqrt_().add_(settings["eps"])
    table.index_add_(0, rows, mean.div_(corrections[0]).div_(deviation), alpha=-settings["lr"])


def _adamw(table: Tensor, rows: Tensor, gradient: Tensor, state: State, settings: Settings) -> None:
    """Loshchilov & Hutter 2019: the rows of a batch decay, by themselves."""
    table[rows] *= 1 - settings["lr"] * settings["weight_decay"]
    _adam(table, rows, gradient, state, {**settings, "weight_decay": 0})


def _adagrad(table: Tensor, rows: Tensor, gradient: Tensor, state: State, settings: Settings) -> None:
    """Duchi et al. 2011. Torch makes its state beforehand."""
    if settings["weight_decay"]:
        gradient = gradient + settings["weight_decay"] * table[rows]
    total = state["sum"][rows].addcmul_(gradient, gradient)
    state["sum"][rows] = total
    table.index_add_(0, rows, gradient / total.sqrt_().add_(settings["eps"]), alpha=-settings["lr"])


def _sgd(table: Tensor, rows: Tensor, gradient: Tensor, state: State, settings: Settings) -> None:
    if settings["weight_decay"]:
        gradient = gradient + settings["weight_decay"] * table[rows]
    table.index_add_(0, rows, gradient, alpha=-settings["lr"])


ROW_UPDATES: dict[str, RowUpdate] = {"adam": _adam, "adamw": _adamw, "adagrad": _adagrad, "sgd": _sgd}
"""How each optimizer that can do so updates rows."""


@cache
def with_rows(kind: type[torch.optim.Optimizer], name: str) -> type[torch.optim.Optimizer]:
    """An optimizer that updates the groups marked :data:`BY_ROWS` by rows, and all others as ``kind`` does."""
    update = ROW_UPDATES[name]

    @torch.no_grad()
    def step(self: torch.optim.Optimizer) -> None:
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group.get(BY_ROWS)]
        try:
            kind.step(self)
        finally:
            self.param_groups = groups
        for group in groups:
            for table in group["params"] if group.get(BY_ROWS) else ():
                if table.grad is not None:
                    gradient, state = coalesced(table.grad), self.state[table]
                    rows = gradient.indices()[0]
                    with row_history.writing([table, *by_row(state)], rows):
                        update(table, rows, gradient.values(), state, group)
                    row_history.track(by_row(state))

    return type(kind.__name__, (kind,), {"step": step})


def by_row(state: State) -> list[Tensor]:
    """What an optimizer knows of each row of a table."""
    return [value for value in state.values() if value.dim()]


def coalesced(gradient: Tensor) -> Tensor:
    """The sparse gradient of a table, each row once; of a dense one, the rows that are not zero."""
    return (gradient if gradient.is_sparse else gradient.to_sparse(1)).coalesce()


def numbers_of(gradient: Tensor) -> Tensor:
    """The numbers of a gradient, of a sparse one those of its rows; what is written to them is written to it."""
    return gradient.values() if gradient.is_sparse else gradient

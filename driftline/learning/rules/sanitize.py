"""Weights that must be served whatever has happened to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from driftline.learning.rules import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.rules import State
    from driftline.learning.trainee import Trainee

EXPLODED = 1000.0
"""So many times the champion's largest weight of the same tensor, or that many where it has none above 1."""


class Repair(Rule):
    """Puts the champion's weights in the place of those that are no finite numbers or have exploded.

    What the optimizer knew of a tensor so repaired goes. ``repaired`` in the state counts the weights.
    """

    field: ClassVar[str] = "sanitize"

    def start(self, trainee: Trainee) -> State:
        import torch

        return {"repaired": torch.zeros((), dtype=torch.int64)}

    def inherit(self, state: State, before: Rule, other: State) -> None:
        state["repaired"] = other["repaired"].clone()

    def metrics(self, state: State) -> dict[str, int]:
        return {"repaired": int(state["repaired"])}

    def on_update(self, trainee: Trainee, state: State, examples: Examples) -> None:
        import torch

        champion = trainee.champion_weights()
        for name, value in trainee.module.state_dict().items():
            good = champion.get(name)
            if good is None or not value.is_floating_point() or not name.startswith(("network.", "output.")):
                continue
            with torch.no_grad():
                broken = _broken(value, good)
                if not bool(broken.any()):
                    continue
                value.copy_(torch.where(broken, _in_shape_of(value, good), value))
            state["repaired"] += broken.sum()
            trainee.forget(name)


def _broken(value: Tensor, good: Tensor) -> Tensor:
    limit = EXPLODED * max(1.0, float(good.abs().max()) if good.numel() else 1.0)
    return ~(value.abs() <= limit)


def _in_shape_of(value: Tensor, good: Tensor) -> Tensor:
    """The champion's tensor, with zeros for rows that it does not have."""
    found = value.new_zeros(value.shape)
    if good.shape == value.shape:
        found.copy_(good)
    elif good.shape[1:] == value.shape[1:]:
        rows = min(len(good), len(value))
        found[:rows] = good[:rows]
    return found

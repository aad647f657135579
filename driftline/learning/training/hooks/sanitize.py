"""Weights that must be served whatever has happened to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from driftline.learning.training.hooks import WeightHook

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.training.hooks import HookState
    from driftline.learning.training.train_state import TrainState

EXPLODED = 1000.0
"""So many times the champion's largest weight of the same tensor, or that many where it has none above 1."""


class Repair(WeightHook):
    """Puts the champion's weights in the place of those that are no finite numbers or have exploded.

    What the optimizer knew of a tensor so repaired goes. ``repaired`` in the state counts the weights.
    """

    field: ClassVar[str] = "sanitize"

    def start(self, train_state: TrainState) -> HookState:
        import torch

        return {"repaired": torch.zeros((), dtype=torch.int64)}

    def inherit(self, state: HookState, before: WeightHook, other: HookState) -> None:
        state["repaired"] = other["repaired"].clone()

    def metrics(self, state: HookState) -> dict[str, int]:
        return {"repaired": int(state["repaired"])}

    def after_update(self, train_state: TrainState, state: HookState, examples: Examples) -> None:
        import torch

        champion = train_state.champion_weights()
        for name, value in train_state.module.state_dict().items():
            good = champion.get(name)
            if good is None or not value.is_floating_point() or not name.startswith(("network.", "output.")):
                continue
            with torch.no_grad():
                broken = _broken(value, good)
                if not bool(broken.any()):
                    continue
                value.copy_(torch.where(broken, _in_shape_of(value, good), value))
            state["repaired"] += broken.sum()
            train_state.forget(name)


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

"""Weights that must be served whatever has happened to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.training.hooks import WeightHookRuntime
from driftline.learning.training.train_state import TrainState
from driftline.networks.sealed import is_sealed
from driftline.spec.parts.hooks import Repair


class RepairHook(WeightHookRuntime[Repair]):
    """``repaired`` counts the weights that were."""

    STATE = ("repaired",)

    def restart(self, state: TrainState) -> None:
        self.repaired = 0

    def inherit(self, before: WeightHookRuntime[Any]) -> None:
        if isinstance(before, RepairHook):
            self.repaired = before.repaired

    def metrics(self) -> dict[str, int]:
        return {"repaired": self.repaired}

    def after_update(self, state: TrainState, examples: Examples) -> None:
        champion = state.champion_weights()
        for name, value in state.module.state_dict().items():
            good = champion.get(name)
            if (
                good is None
                or is_sealed(value)
                or not value.is_floating_point()
                or not name.startswith(("network.", "output."))
            ):
                continue
            with torch.no_grad():
                broken = self._broken(value, good)
                if not bool(broken.any()):
                    continue
                value.copy_(torch.where(broken, _in_shape_of(value, good), value))
            self.repaired += int(broken.sum())
            state.forget(name)

    def _broken(self, value: Tensor, good: Tensor) -> Tensor:
        limit = self.parameters.limit * max(1.0, float(good.abs().max()) if good.numel() else 1.0)
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

"""Units that no longer serve, drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from driftline.errors import InvalidInput
from driftline.learning.training.hooks import WeightHook

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.training.hooks import Carry, HookState
    from driftline.learning.training.hooks.hidden_units import HiddenLayer
    from driftline.learning.training.train_state import TrainState
    from driftline.networks.served_model import ServedModel

UTILITY, AGE, DUE = ".utility", ".age", ".due"


class Refresh(WeightHook):
    """Draws the least useful hidden units anew, a share of ``rate`` of each layer an update (Dohare et al. 2024).

    A unit's utility is the running mean of ``|h| · Σ |w|``, of what it gives and of the weights that take it in. It is measured
    every ``every`` updates, on their examples, and ``decay`` of it stays. A new unit is not taken in at first, and is safe for
    ``maturity`` updates.
    """

    field: ClassVar[str] = "refresh"
    rate: float = Field(0.0001, gt=0, le=1)
    maturity: int = Field(100, ge=0, le=1_000_000)
    decay: float = Field(0.99, ge=0, lt=1)
    every: int = Field(8, ge=1, le=10_000)

    def check(self, module: ServedModel) -> None:
        from driftline.learning.training.hooks.hidden_units import hidden_layers

        if not hidden_layers(module):
            message = "recipe.refresh: the network is no sequence of linear or convolution layers with hidden units"
            raise InvalidInput(message, field="recipe.refresh", value=self.model_dump())

    def start(self, train_state: TrainState) -> HookState:
        import torch

        from driftline.learning.training.hooks.hidden_units import hidden_layers

        state = {"updates": torch.zeros((), dtype=torch.int64)}
        for layer in hidden_layers(train_state.module):
            state[layer.path + UTILITY] = torch.zeros(layer.units)
            state[layer.path + AGE] = torch.zeros(layer.units, dtype=torch.int64)
            state[layer.path + DUE] = torch.zeros((), dtype=torch.float64)
        return state

    def after_update(self, train_state: TrainState, state: HookState, examples: Examples) -> None:
        from driftline.learning.training.hooks.hidden_units import contributions

        state["updates"] += 1
        if int(state["updates"]) % self.every or not len(examples):
            return
        for layer, contribution in contributions(train_state.module, examples.inputs):
            if layer.weight in train_state.parameters:
                self._measure(state, layer, contribution)
                for unit in self._chosen(state, layer):
                    layer.renew(unit, train_state)

    def _measure(self, state: HookState, layer: HiddenLayer, contribution: Tensor) -> None:
        state[layer.path + UTILITY].lerp_(contribution, 1 - self.decay)
        state[layer.path + AGE] += self.every

    def _chosen(self, state: HookState, layer: HiddenLayer) -> list[int]:
        """The least useful units that are old enough, as many as are due; they begin anew."""
        utility, age, due = (state[layer.path + name] for name in (UTILITY, AGE, DUE))
        is_mature = age > self.maturity
        due += self.rate * self.every * int(is_mature.sum())
        count = min(int(due), int(is_mature.sum()))
        chosen: list[int] = utility.masked_fill(~is_mature, float("inf")).argsort(stable=True)[:count].tolist()
        due -= count
        utility[chosen], age[chosen] = 0.0, 0
        return chosen

    def after_edit(self, train_state: TrainState, state: HookState, before: ServedModel, carry: Carry) -> HookState:
        """What is known of the units of layers that are as wide as they were."""
        fresh = self.start(train_state)
        return {
            name: state[name] if name in state and state[name].shape == value.shape else value
            for name, value in fresh.items()
        }

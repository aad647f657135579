"""Units that no longer serve, drawn again."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning.examples import Examples
from driftline.learning.training.hooks import WeightHookRuntime
from driftline.learning.training.hooks.hidden_units import HiddenLayer, contributions, hidden_layers
from driftline.learning.training.train_state import ModuleEdit, TrainState
from driftline.networks.served_model import ServedModel
from driftline.spec.parts.hooks import Refresh


class RefreshHook(WeightHookRuntime[Refresh]):
    """By the path of each layer ``utility`` and ``age`` ``[units]``, and how many units are ``due`` ``[]`` to be redrawn."""

    STATE = ("updates", "utility", "age", "due")

    @classmethod
    def check(cls, parameters: Refresh, module: ServedModel) -> None:
        if not hidden_layers(module):
            message = "recipe.refresh: the network is no sequence of linear or convolution layers with hidden units"
            raise InvalidInput(message, field="recipe.refresh", value=parameters.model_dump())

    def restart(self, state: TrainState) -> None:
        layers = hidden_layers(state.module)
        self.updates = 0
        self.utility = {layer.path: torch.zeros(layer.units) for layer in layers}
        self.age = {layer.path: torch.zeros(layer.units, dtype=torch.int64) for layer in layers}
        self.due = {layer.path: torch.zeros((), dtype=torch.float64) for layer in layers}

    def after_update(self, state: TrainState, examples: Examples) -> None:
        self.updates += 1
        if self.updates % self.parameters.every or not len(examples):
            return
        for layer, contribution in contributions(state.module, examples.inputs):
            if layer.weight in state.parameters:
                self._measure(layer, contribution)
                for unit in self._chosen(layer):
                    layer.renew(unit, state)

    def _measure(self, layer: HiddenLayer, contribution: Tensor) -> None:
        self.utility[layer.path].lerp_(contribution, 1 - self.parameters.decay)
        self.age[layer.path] += self.parameters.every

    def _chosen(self, layer: HiddenLayer) -> list[int]:
        """The least useful units that are old enough, as many as are due; they begin again."""
        utility, age, due = self.utility[layer.path], self.age[layer.path], self.due[layer.path]
        is_mature = age > self.parameters.maturity
        due += self.parameters.rate * self.parameters.every * int(is_mature.sum())
        count = min(int(due), int(is_mature.sum()))
        chosen: list[int] = utility.masked_fill(~is_mature, float("inf")).argsort(stable=True)[:count].tolist()
        due -= count
        utility[chosen], age[chosen] = 0.0, 0
        return chosen

    def after_edit(self, state: TrainState, edit: ModuleEdit) -> None:
        """What is known of the units of layers that are as wide as they were stays."""
        former = (self.utility, self.age, self.due)
        updates = self.updates
        self.restart(state)
        self.updates = updates
        for now, before in zip((self.utility, self.age, self.due), former, strict=True):
            now |= {path: before[path] for path in now if path in before and before[path].shape == now[path].shape}

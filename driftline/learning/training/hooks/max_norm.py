"""A limit on what a unit takes in."""

from __future__ import annotations

import torch

from driftline.learning.examples import Examples
from driftline.learning.training.hooks import WeightHookRuntime
from driftline.learning.training.hooks.unit_weights import weights_of_units
from driftline.learning.training.train_state import TrainState
from driftline.spec.parts.hooks import MaxNorm


class MaxNormHook(WeightHookRuntime[MaxNorm]):
    """Scales the weights into each unit back to the limit."""

    def after_update(self, state: TrainState, examples: Examples) -> None:
        with torch.no_grad():
            for name, weight, axis in weights_of_units(state.module):
                if name in state.parameters and len(weight):
                    weight.copy_(torch.renorm(weight, 2, axis, self.parameters.limit))

"""Weights that can learn again."""

from __future__ import annotations

import torch

from driftline.learning.runtime import ExampleSource
from driftline.learning.training.hooks import WeightHookRuntime
from driftline.learning.training.train_state import reset_weights
from driftline.learning.training.training_step import TrainingStep
from driftline.networks.clone import clone
from driftline.spec.parts.hooks import ShrinkAndPerturbOnAlarm


class ShrinkAndPerturbHook(WeightHookRuntime[ShrinkAndPerturbOnAlarm]):
    """Shrinks and disturbs the weights, and renews the optimizer."""

    def on_drift(self, step: TrainingStep, replay: ExampleSource, labels: int) -> None:
        state = step.state
        fresh = clone(state.module)
        reset_weights(fresh)
        drawn = dict(fresh.named_parameters())
        with torch.no_grad():
            for name, weight in state.parameters.items():
                if name.startswith(("network.", "output.")):
                    weight.copy_(self.parameters.shrink * weight + self.parameters.noise * drawn[name])
        state.renew_optimizer()

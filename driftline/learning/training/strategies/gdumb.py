"""Greedy sampler and dumb learner."""

from __future__ import annotations

import torch

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource
from driftline.learning.training.strategies import StrategyRuntime
from driftline.learning.training.training_step import TrainingStep
from driftline.spec.parts.strategies import Gdumb


class GdumbRuntime(StrategyRuntime[Gdumb]):
    """Trains on replayed examples alone, from fresh weights after drift."""

    def batch(self, new: Examples, replay: ExampleSource, generator: torch.Generator) -> Examples:
        return replay.sample(self.parameters.replayed, generator) if len(replay) else new

    def on_drift(self, step: TrainingStep, replay: ExampleSource, labels: int) -> None:
        if not len(replay):
            return
        step.state.renew_weights()
        rounds = -(-self.parameters.epochs * len(replay) // self.parameters.replayed)
        for _ in range(rounds):
            step(replay.sample(self.parameters.replayed, step.state.generator))

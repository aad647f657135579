"""Elastic weight consolidation."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource
from driftline.learning.training.strategies import StrategyRuntime
from driftline.learning.training.train_state import ModuleEdit, TrainState
from driftline.learning.training.training_step import TrainingStep
from driftline.spec.parts.strategies import Ewc


class EwcRuntime(StrategyRuntime[Ewc]):
    """``importance`` and ``center`` of each weight; ``gathered`` is the sum of squared gradients since the last consolidation,
    over ``labels`` labels.
    """

    STATE = ("importance", "gathered", "center", "labels")

    def restart(self, state: TrainState) -> None:
        weights = _weights(state)
        self.importance = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.gathered = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.center = {name: weight.detach().clone() for name, weight in weights.items()}
        self.labels = 0

    def update(self, step: TrainingStep, new: Examples, replay: ExampleSource) -> str | None:
        return step(new, lambda outputs: self._penalty(step.state, outputs)) if len(new) else None

    def _penalty(self, state: TrainState, outputs: Tensor) -> Tensor:
        terms = [
            (self.importance[name] * (weight - self.center[name]) ** 2).sum()
            for name, weight in _weights(state).items()
        ]
        return self.parameters.strength / 2 * sum(terms, outputs.new_zeros(()))

    def after_step(self, step: TrainingStep, new: Examples) -> None:
        if not len(new):
            return
        for name, gradient in step.gradient(new).items():
            self.gathered[name] += len(new) * gradient**2
        self.labels += len(new)
        if self.labels >= self.parameters.every:
            self._consolidate(step.state)

    def _consolidate(self, state: TrainState) -> None:
        for name, weight in _weights(state).items():
            fresh = self.gathered[name] / self.labels
            self.importance[name] = self.parameters.decay * self.importance[name] + fresh
            self.gathered[name].zero_()
            self.center[name] = weight.detach().clone()
        self.labels = 0

    def after_edit(self, state: TrainState, edit: ModuleEdit) -> None:
        former, labels = (self.importance, self.gathered, self.center), self.labels
        self.restart(state)
        self.labels = labels
        for now, before in zip((self.importance, self.gathered, self.center), former, strict=True):
            now |= {name: value for name, value in edit.carried(before).items() if name in now}


def _weights(state: TrainState) -> dict[str, Tensor]:
    return {name: weight for name, weight in state.module.named_parameters() if weight.requires_grad}

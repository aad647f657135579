"""Learning without forgetting."""

from __future__ import annotations

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource
from driftline.learning.training.distillation import distilled
from driftline.learning.training.strategies import StrategyRuntime
from driftline.learning.training.training_step import TrainingStep
from driftline.spec.parts.strategies import Lwf


class LwfRuntime(StrategyRuntime[Lwf]):
    """Trains on what is new, held to the answers of an older champion."""

    def update(self, step: TrainingStep, new: Examples, replay: ExampleSource) -> str | None:
        if not len(new):
            return None
        teacher = step.state.references.teacher
        if teacher is None:
            return step(new)
        strength, temperature = self.parameters.strength, self.parameters.temperature
        return step(new, distilled(step.state.module, teacher, new, strength, temperature))

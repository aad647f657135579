"""Averaged gradient episodic memory."""

from __future__ import annotations

from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource
from driftline.learning.training.strategies import StrategyRuntime
from driftline.learning.training.training_step import TrainingStep
from driftline.spec.parts.strategies import Agem


class AgemRuntime(StrategyRuntime[Agem]):
    """Projects each gradient so that it does not raise the loss of replayed examples."""

    def update(self, step: TrainingStep, new: Examples, replay: ExampleSource) -> str | None:
        if not len(new):
            return None
        kept = replay.sample(self.parameters.replayed, step.state.generator)
        reference = step.gradient(kept) if len(kept) else {}
        return step(new, change=lambda gradient: projected(gradient, reference))


def projected(gradient: dict[str, Tensor], reference: dict[str, Tensor]) -> dict[str, Tensor]:
    """Equation 11: ``g − (g·r / r·r) r`` where ``g·r < 0``, else ``g``."""
    dot = sum(float((gradient[name] * value).sum()) for name, value in reference.items())
    if dot >= 0:
        return gradient
    square = sum(float((value**2).sum()) for value in reference.values())
    return {name: value - dot / square * reference[name] for name, value in gradient.items()}

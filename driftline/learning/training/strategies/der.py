"""Dark experience replay."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource
from driftline.learning.training.strategies import StrategyRuntime
from driftline.learning.training.train_state import TrainState
from driftline.learning.training.training_step import TrainingStep
from driftline.spec.parts.strategies import Der

LOGITS = "logits"


class DerRuntime(StrategyRuntime[Der]):
    """Replays labels, and the logits that were noted with them."""

    def update(self, step: TrainingStep, new: Examples, replay: ExampleSource) -> str | None:
        generator, count = step.state.generator, self.parameters.replayed
        once, again = replay.sample(count, generator), replay.sample(count, generator)
        if not len(once):
            return step(new) if len(new) else None

        def remembered(_: Tensor) -> Tensor:
            return self._distance(step.state, once) + self.parameters.beta * step.loss(again)

        return step(new, remembered)

    def _distance(self, state: TrainState, examples: Examples) -> Tensor:
        """How far the network's logits are from those of then, where they were noted."""
        outputs: Tensor = state.module(examples.inputs)
        if LOGITS not in examples.notes:
            return outputs.new_zeros(())
        then = examples.notes[LOGITS]
        outputs = outputs[:, : then.shape[1]]
        known = ~then[:, : outputs.shape[1]].isnan()
        squares = torch.where(known, outputs - then.nan_to_num(), 0.0) ** 2
        distance: Tensor = squares.sum() / known.sum().clamp(min=1)
        return self.parameters.alpha * distance

    def annotate(self, state: TrainState, new: Examples) -> Examples:
        if not len(new):
            return new
        with torch.no_grad():
            return new.noted(**{LOGITS: state.module.eval()(new.inputs)})

"""Dark experience replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.training.strategies import Strategy, StrategyRuntime

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.replay.buffers import ReplayBuffer
    from driftline.learning.training.train_state import TrainState
    from driftline.networks.served_model import ServedModel

LOGITS = "logits"


class Der(Strategy):
    """Replays what the network once answered beside the labels (DER++, Buzzega et al. 2020).

    ``alpha`` weighs the distance to the logits of then, ``beta`` the loss of the replayed labels.
    """

    name: Literal["der"] = "der"
    replayed: int = Field(64, ge=1, le=100_000)
    alpha: float = Field(0.3, ge=0, le=100)
    beta: float = Field(0.7, ge=0, le=100)

    def start(self, train_state: TrainState) -> StrategyRuntime[Der]:
        return DerRuntime(train_state, self)


class DerRuntime(StrategyRuntime[Der]):
    def update(self, new: Examples, replay_buffer: ReplayBuffer, teacher: ServedModel | None) -> str | None:
        generator, count = self.train_state.generator, self.strategy.replayed
        once, again = replay_buffer.sample(count, generator), replay_buffer.sample(count, generator)
        if not len(once):
            return self.train_state.training_step(new) if len(new) else None

        def remembered(_: Tensor) -> Tensor:
            return self._distance(once) + self.strategy.beta * self.train_state.loss(again)

        return self.train_state.training_step(new, remembered)

    def _distance(self, examples: Examples) -> Tensor:
        """How far the network's logits are from those of then, where they were noted."""
        import torch

        outputs: Tensor = self.train_state.module(examples.inputs)
        if LOGITS not in examples.notes:
            return outputs.new_zeros(())
        then = examples.notes[LOGITS]
        outputs = outputs[:, : then.shape[1]]
        known = ~then[:, : outputs.shape[1]].isnan()
        squares = torch.where(known, outputs - then.nan_to_num(), 0.0) ** 2
        distance: Tensor = squares.sum() / known.sum().clamp(min=1)
        return self.strategy.alpha * distance

    def annotate(self, new: Examples) -> Examples:
        import torch

        if not len(new):
            return new
        with torch.no_grad():
            return new.noted(**{LOGITS: self.train_state.module.eval()(new.inputs)})

"""Greedy sampler and dumb learner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.training.strategies import Strategy, StrategyRuntime

if TYPE_CHECKING:
    import torch

    from driftline.learning.examples import Examples
    from driftline.learning.replay.buffers import ReplayBuffer
    from driftline.learning.training.train_state import TrainState


class Gdumb(Strategy):
    """Trains on the memory alone, and from new weights after an alarm (GDumb, Prabhu et al. 2020).

    An alarm is followed by ``epochs`` rounds through the memory. Between alarms each update takes ``replayed`` of its
    examples.
    """

    name: Literal["gdumb"] = "gdumb"
    replayed: int = Field(64, ge=1, le=100_000)
    epochs: int = Field(10, ge=1, le=1000)

    def batch(self, new: Examples, replay_buffer: ReplayBuffer, generator: torch.Generator) -> Examples:
        return replay_buffer.sample(self.replayed, generator) if len(replay_buffer) else new

    def start(self, train_state: TrainState) -> StrategyRuntime[Gdumb]:
        return GdumbRuntime(train_state, self)


class GdumbRuntime(StrategyRuntime[Gdumb]):
    def alarm(self, replay_buffer: ReplayBuffer) -> None:
        if not len(replay_buffer):
            return
        self.train_state.renew_weights()
        rounds = -(-self.strategy.epochs * len(replay_buffer) // self.strategy.replayed)
        for _ in range(rounds):
            self.train_state.training_step(replay_buffer.sample(self.strategy.replayed, self.train_state.generator))

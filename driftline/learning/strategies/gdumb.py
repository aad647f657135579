"""Greedy sampler and dumb learner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.strategies import Method, Strategy

if TYPE_CHECKING:
    import torch

    from driftline.learning.examples import Examples
    from driftline.learning.memory import Memory
    from driftline.learning.trainee import Trainee


class Gdumb(Strategy):
    """Trains on the memory alone, and from new weights after an alarm (GDumb, Prabhu et al. 2020).

    An alarm is followed by ``epochs`` rounds through the memory. Between alarms each update takes ``replayed`` of its
    examples.
    """

    name: Literal["gdumb"] = "gdumb"
    replayed: int = Field(64, ge=1, le=100_000)
    epochs: int = Field(10, ge=1, le=1000)

    def batch(self, new: Examples, memory: Memory, generator: torch.Generator) -> Examples:
        return memory.sample(self.replayed, generator) if len(memory) else new

    def start(self, trainee: Trainee) -> Method[Gdumb]:
        return GdumbMethod(trainee, self)


class GdumbMethod(Method[Gdumb]):
    def alarm(self, memory: Memory) -> None:
        if not len(memory):
            return
        self.trainee.renew_weights()
        rounds = -(-self.strategy.epochs * len(memory) // self.strategy.replayed)
        for _ in range(rounds):
            self.trainee.descend(memory.sample(self.strategy.replayed, self.trainee.generator))

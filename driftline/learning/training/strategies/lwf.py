"""Learning without forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.training.strategies import Strategy, StrategyRuntime

if TYPE_CHECKING:
    from driftline.learning.examples import Examples
    from driftline.learning.replay.buffers import ReplayBuffer
    from driftline.learning.training.train_state import TrainState
    from driftline.networks.served_model import ServedModel


class Lwf(Strategy):
    """Keeps answering as an older champion did (LwF, Li & Hoiem 2016): new labels, and distillation on the new inputs.

    ``strength`` weighs the distillation, at ``temperature`` (Hinton et al. 2015); in a regression it is the squared distance.
    """

    name: Literal["lwf"] = "lwf"
    strength: float = Field(1.0, ge=0, le=100)
    temperature: float = Field(2.0, gt=0, le=100)

    def start(self, train_state: TrainState) -> StrategyRuntime[Lwf]:
        return LwfRuntime(train_state, self)


class LwfRuntime(StrategyRuntime[Lwf]):
    def update(self, new: Examples, replay_buffer: ReplayBuffer, teacher: ServedModel | None) -> str | None:
        from driftline.learning.training.distillation import distilled

        if not len(new):
            return None
        if teacher is None:
            return self.train_state.training_step(new)
        strength, temperature = self.strategy.strength, self.strategy.temperature
        return self.train_state.training_step(
            new, distilled(self.train_state.module, teacher, new, strength, temperature)
        )

"""Averaged gradient episodic memory."""

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


class Agem(Strategy):
    """Takes from each gradient what would raise the loss of the memory (A-GEM, Chaudhry et al. 2019).

    ``replayed`` examples from memory give the gradient that it is compared with.
    """

    name: Literal["agem"] = "agem"
    replayed: int = Field(64, ge=1, le=100_000)

    def start(self, train_state: TrainState) -> StrategyRuntime[Agem]:
        return AgemRuntime(train_state, self)


class AgemRuntime(StrategyRuntime[Agem]):
    def update(self, new: Examples, replay_buffer: ReplayBuffer, teacher: ServedModel | None) -> str | None:
        if not len(new):
            return None
        kept = replay_buffer.sample(self.strategy.replayed, self.train_state.generator)
        reference = self.train_state.gradient(kept) if len(kept) else {}
        return self.train_state.training_step(new, change=lambda gradient: _projected(gradient, reference))


def _projected(gradient: dict[str, Tensor], reference: dict[str, Tensor]) -> dict[str, Tensor]:
    """Equation 11: ``g − (g·r / r·r) r`` where ``g·r < 0``, else ``g``."""
    dot = sum(float((gradient[name] * value).sum()) for name, value in reference.items())
    if dot >= 0:
        return gradient
    square = sum(float((value**2).sum()) for value in reference.values())
    return {name: value - dot / square * reference[name] for name, value in gradient.items()}

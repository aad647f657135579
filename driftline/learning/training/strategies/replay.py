"""Experience replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.training.strategies import Strategy

if TYPE_CHECKING:
    import torch

    from driftline.learning.examples import Examples
    from driftline.learning.replay.buffers import ReplayBuffer


class Replay(Strategy):
    """New labels with as many again, or more, from memory (ER, Chaudhry et al. 2019)."""

    name: Literal["replay"] = "replay"
    replayed: int = Field(64, ge=1, le=100_000)

    def batch(self, new: Examples, replay_buffer: ReplayBuffer, generator: torch.Generator) -> Examples:
        return new.joined(replay_buffer.sample(self.replayed, generator))

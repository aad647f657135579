"""The newest examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.learning.replay.policies import ReplayPolicy

if TYPE_CHECKING:
    from driftline.learning.replay.buffers import ReplayBuffer


class Fifo(ReplayPolicy):
    """A sliding window: the oldest example goes first."""

    name: Literal["fifo"] = "fifo"

    def place(self, replay_buffer: ReplayBuffer, label: int, keep: float, which: float) -> int | None:
        return (replay_buffer.total_seen - 1) % self.size

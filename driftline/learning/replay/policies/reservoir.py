"""A fair sample of all that was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.learning.replay.policies import ReplayPolicy

if TYPE_CHECKING:
    from driftline.learning.replay.buffers import ReplayBuffer


class Reservoir(ReplayPolicy):
    """Every example ever seen is kept with the same probability (algorithm R, Vitter 1985)."""

    name: Literal["reservoir"] = "reservoir"

    def place(self, replay_buffer: ReplayBuffer, label: int, keep: float, which: float) -> int | None:
        if replay_buffer.total_seen <= self.size:
            return replay_buffer.total_seen - 1
        slot = int(keep * replay_buffer.total_seen)
        return slot if slot < self.size else None

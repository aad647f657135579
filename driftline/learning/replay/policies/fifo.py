"""The newest examples."""

from __future__ import annotations

from driftline.learning.replay.policies import PlacementPolicy
from driftline.spec.parts.replay_policies import Fifo


class FifoPlacement(PlacementPolicy[Fifo]):
    """The slots in turn."""

    def _slot(self, label: int, keep: float, which: float) -> int | None:
        return (self.total_seen - 1) % self.size

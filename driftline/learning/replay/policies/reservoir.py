"""A fair sample of all that was seen."""

from __future__ import annotations

from driftline.learning.replay.policies import PlacementPolicy
from driftline.spec.parts.replay_policies import Reservoir


class ReservoirPlacement(PlacementPolicy[Reservoir]):
    """The n-th example is kept with probability ``size / n``."""

    def _slot(self, label: int, keep: float, which: float) -> int | None:
        if self.total_seen <= self.size:
            return self.total_seen - 1
        slot = int(keep * self.total_seen)
        return slot if slot < self.size else None

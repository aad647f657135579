"""How long a worker's steps, versions and checkpoints take, over all of its models."""

from __future__ import annotations

from driftline.store.workers import CHECKPOINT, STEP, VERSION, Counted
from driftline.support.tally import QUICK, Tally


class Durations:
    """Seconds of each kind of work, counted since the worker's start."""

    def __init__(self) -> None:
        self.step, self.version, self.checkpoint = Tally(QUICK), Tally(QUICK), Tally(QUICK)

    def counted(self) -> dict[str, Counted]:
        """What a heartbeat tells of them."""
        tallies = {STEP: self.step, VERSION: self.version, CHECKPOINT: self.checkpoint}
        return {name: (list(tally.counts), tally.total) for name, tally in tallies.items()}

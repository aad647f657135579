"""A limit on the share of the trainer's time that does not go into learning."""

from __future__ import annotations

import time


class TimeBudget:
    """Limits an activity to a ``share`` of the time: after each run it waits until the rest of the time has had its share."""

    def __init__(self, share: float = 0.1) -> None:
        self.share = share
        self.due_at = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() >= self.due_at

    def spent(self, seconds: float) -> None:
        """Counts ``seconds`` that the activity has just taken."""
        self.due_at = time.monotonic() + seconds * (1 - self.share) / self.share

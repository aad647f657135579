"""A limit on the share of the trainer's time that does not go into learning."""

from __future__ import annotations

import time


class TimeBudget:
    """Limits an activity to a ``share`` of the time: after each run it waits until the rest of the time has had its share.

    Args:
        saved_seconds: of the newest time in which it did not have its share, so much counts on: after a quiet while it may run
            again at once, and still has no more than its share of all the time since then and these seconds.
    """

    def __init__(self, share: float = 0.1, saved_seconds: float = 0.0) -> None:
        self.share = share
        self.saved_seconds = saved_seconds
        self.due_at = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() >= self.due_at

    def spent(self, seconds: float) -> None:
        """Counts ``seconds`` that the activity has just taken."""
        begun = time.monotonic() - seconds
        self.due_at = max(self.due_at, begun - self.saved_seconds) + seconds / self.share

"""How much of the trainer's time may go into what is not learning."""

from __future__ import annotations

import time


class TimeBudget:
    """At most ``share`` of the trainer's time goes into something: it waits until the rest has had its share."""

    def __init__(self, share: float = 0.1) -> None:
        self.share = share
        self.due_at = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() >= self.due_at

    def spent(self, seconds: float) -> None:
        """Takes ``seconds`` that have just gone into it."""
        self.due_at = time.monotonic() + seconds * (1 - self.share) / self.share

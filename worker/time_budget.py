"""How much of the trainer's time may go into what is not learning."""

from __future__ import annotations

import time

SHARE = 0.1
"""At most this share of the trainer's time goes into each of publishing and checkpoints."""


class TimeBudget:
    """Allows something again only once the rest has had its share of the time."""

    def __init__(self, share: float = SHARE) -> None:
        self.share = share
        self.due_at = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() >= self.due_at

    def spent(self, seconds: float) -> None:
        """Takes ``seconds`` that have just gone into it."""
        self.due_at = time.monotonic() + seconds * (1 - self.share) / self.share

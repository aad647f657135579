"""Values counted in buckets: what a histogram of Prometheus is made of, without its library."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for what should take milliseconds, in seconds."""
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""Bounds for what waits for others, in seconds."""
DELAYS = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0, 30 * 86400.0)
"""Bounds for how long the world takes to tell the truth, in seconds."""


class Tally:
    """How many values were at most each bound, and no smaller one; above them all is one more bucket.

    >>> tally = Tally((1.0, 2.0))
    >>> for value in (0.5, 2.0, 7.0):
    ...     tally.observe(value)
    >>> tally.counts, tally.total
    ([1, 1, 1], 9.5)
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def take(self) -> tuple[list[int], float]:
        """What was counted since this was last asked for, and the sum of it."""
        taken = self.counts, self.total
        self.counts, self.total = [0] * len(self.counts), 0.0
        return taken

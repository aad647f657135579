"""KSWIN: whether the newest errors are distributed as those before them."""

from __future__ import annotations

import math
from functools import lru_cache

from driftline.learning.monitoring.drift import DriftDetector
from driftline.spec.parts.detectors import Kswin

MIN_DISTANCE = 0.1
"""A smaller distance of the two distribution functions is no drift, however sure it is."""


class KswinDetector(DriftDetector[Kswin]):
    """``window`` holds the newest errors, twice ``size`` at most."""

    STATE = ("window",)

    def restart(self) -> None:
        self.window: list[float] = []

    def update(self, error: float) -> bool:
        return self.change(error) > 0

    def change(self, error: float) -> float:
        """By how much the mean has changed where the distribution has, up or down; then it starts again. Else 0."""
        size = self.parameters.size
        window = self.window = [*self.window, float(error)][-2 * size :]
        if len(window) < 2 * size:
            return 0.0
        older, newer = window[:size], window[size:]
        steps = _distance(older, newer)
        if steps < _critical(size, self.parameters.alpha) or steps <= MIN_DISTANCE * size:
            return 0.0
        self.restart()
        return (sum(newer) - sum(older)) / size


def _distance(one: list[float], other: list[float]) -> int:
    """The largest distance of two distribution functions of as many values, in steps of one value."""
    marked = sorted([(value, 1) for value in one] + [(value, -1) for value in other])
    largest = height = 0
    for index, (value, step) in enumerate(marked):
        height += step
        if index + 1 == len(marked) or marked[index + 1][0] != value:
            largest = max(largest, abs(height))
    return largest


@lru_cache
def _critical(size: int, alpha: float) -> int:
    """The smallest distance that chance reaches with probability ``alpha`` at most (Gnedenko & Korolyuk 1951)."""
    return next((steps for steps in range(1, size + 1) if _chance(size, steps) <= alpha), size + 1)


def _chance(size: int, steps: int) -> float:
    """How probable such a distance or a larger one is between samples of one distribution."""
    paths = [math.comb(2 * size, size - k * steps) for k in range(1, size // steps + 1)]
    return min(1.0, 2 * (sum(paths[::2]) - sum(paths[1::2])) / math.comb(2 * size, size))

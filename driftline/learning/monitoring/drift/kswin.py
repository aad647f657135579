"""KSWIN: whether the newest errors are distributed as those before them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from driftline.learning.monitoring.drift import Detector

SMALLEST_DISTANCE = 0.1


class Kswin(Detector):
    """Alarms when a Kolmogorov-Smirnov test tells the newest ``size`` errors from the ``size`` before (Raab et al. 2020).

    The published one draws its older sample at random; this one takes all of it, so that its state is the errors alone. It
    hears a change of shape as well as one of the mean. It tests at every error: ``alpha`` is what each test may err.
    """

    name: Literal["kswin"] = "kswin"
    alpha: float = Field(0.0001, gt=0, lt=1)
    size: int = Field(100, ge=5, le=1000)

    def start(self) -> dict[str, Any]:
        return {"window": []}

    def update(self, state: dict[str, Any], error: float) -> bool:
        return self.change(state, error) > 0

    def change(self, state: dict[str, Any], error: float) -> float:
        """By how much the mean has changed where the distribution has, up or down; then it starts anew. Else 0."""
        window: list[float] = [*state["window"], float(error)][-2 * self.size :]
        state["window"] = window
        if len(window) < 2 * self.size:
            return 0.0
        older, newer = window[: self.size], window[self.size :]
        steps = _distance(older, newer)
        if steps < _critical(self.size, self.alpha) or steps <= SMALLEST_DISTANCE * self.size:
            return 0.0
        state.update(self.start())
        return (sum(newer) - sum(older)) / self.size


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

"""EDDM: the distance between errors against the longest that it has been."""

from __future__ import annotations

import math

from driftline.learning.monitoring.drift import DriftDetector
from driftline.spec.parts.detectors import Eddm


class EddmDetector(DriftDetector[Eddm]):
    """``mean`` and ``squares`` are of the distances between ``wrong`` answers; the ``last`` came after so many labels."""

    STATE = ("count", "last", "wrong", "mean", "squares", "highest")

    def restart(self) -> None:
        self.count = 0
        self.last = 0
        self.wrong = 0
        self.mean = 0.0
        self.squares = 0.0
        self.highest = -1.0

    def update(self, error: float) -> bool:
        self.count += 1
        if not error:
            return False
        self._measure(self.count - self.last)
        self.last = self.count
        if self.count <= self.parameters.grace:
            return False
        variance = self.squares / (self.wrong - 1) if self.wrong > 1 else 0.0
        level = self.mean + 2 * math.sqrt(variance)
        if level > self.highest:
            self.highest = level
            return False
        are_closer = self.wrong > self.parameters.grace and level / self.highest < self.parameters.beta
        if are_closer:
            self.restart()
        return are_closer

    def _measure(self, distance: int) -> None:
        """Takes a distance into the mean and the squared differences from it (Welford 1962)."""
        self.wrong += 1
        before = self.mean
        self.mean += (distance - before) / self.wrong
        self.squares += (distance - before) * (distance - self.mean)

"""HDDM with the A-test: the mean error against what it was at its most favourable cut."""

from __future__ import annotations

import math

from driftline.learning.monitoring.drift import DriftDetector
from driftline.spec.parts.detectors import HddmA


class HddmADetector(DriftDetector[HddmA]):
    """``mean`` is that of ``count`` errors, ``cut_mean`` that of those up to the ``cut``."""

    STATE = ("count", "mean", "cut", "cut_mean")

    def restart(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.cut = 0
        self.cut_mean = 0.0

    def update(self, error: float) -> bool:
        self.count += 1
        self.mean += (error - self.mean) / self.count
        bound = self.mean + self._bound(self.count)
        if not self.cut or self.cut_mean + self._bound(self.cut) >= bound:
            self.cut, self.cut_mean = self.count, self.mean
            return False
        newer = (self.count - self.cut) / (self.cut * self.count)
        has_risen = self.mean - self.cut_mean >= math.sqrt(newer / 2 * math.log(2 / self.parameters.confidence))
        if has_risen:
            self.restart()
        return has_risen

    def _bound(self, count: int) -> float:
        return math.sqrt(math.log(1 / self.parameters.confidence) / (2 * count))

"""DDM: the error rate against the lowest that it has been."""

from __future__ import annotations

import math

from driftline.learning.monitoring.drift import DriftDetector
from driftline.spec.parts.detectors import Ddm


class DdmDetector(DriftDetector[Ddm]):
    """``rate`` is that of ``count`` errors; the lowest stands with its deviation, both None before the first check."""

    STATE = ("count", "rate", "lowest_rate", "lowest_deviation")

    def restart(self) -> None:
        self.count = 0
        self.rate = 0.0
        self.lowest_rate: float | None = None
        self.lowest_deviation: float | None = None

    def update(self, error: float) -> bool:
        self.count += 1
        self.rate += (error - self.rate) / self.count
        if self.count <= self.parameters.grace:
            return False
        rate, deviation = self.rate, math.sqrt(max(0.0, self.rate * (1 - self.rate)) / self.count)
        if (
            self.lowest_rate is None
            or self.lowest_deviation is None
            or rate + deviation <= self.lowest_rate + self.lowest_deviation
        ):
            self.lowest_rate, self.lowest_deviation = rate, deviation
        has_risen = rate + deviation > self.lowest_rate + self.parameters.threshold * self.lowest_deviation
        if has_risen:
            self.restart()
        return has_risen

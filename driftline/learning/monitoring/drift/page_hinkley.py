"""Page-Hinkley: how far the error's sum has climbed above its lowest."""

from __future__ import annotations

from driftline.learning.monitoring.drift import DriftDetector
from driftline.spec.parts.detectors import PageHinkley


class PageHinkleyDetector(DriftDetector[PageHinkley]):
    """``sum`` is of how much each error exceeds the ``mean``; ``lowest`` is None before the first error."""

    STATE = ("count", "mean", "sum", "lowest")

    def restart(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.sum = 0.0
        self.lowest: float | None = None

    def update(self, error: float) -> bool:
        given = self.parameters
        self.count += 1
        self.mean += (error - self.mean) / self.count
        self.sum = given.fade * self.sum + (error - self.mean) - given.delta
        self.lowest = self.sum if self.lowest is None else min(self.lowest, self.sum)
        has_risen = self.count >= given.grace and self.sum - self.lowest > given.threshold
        if has_risen:
            self.restart()
        return has_risen

"""HDDM with the W-test: fading means of the errors before and after a cut."""

from __future__ import annotations

import math
from typing import TypeAlias

from driftline.learning.monitoring.drift import DriftDetector
from driftline.spec.parts.detectors import HddmW

FadingMean: TypeAlias = tuple[float | None, float]
"""A mean, None before its first error, and its sum of squared weights."""
EMPTY: FadingMean = (None, 1.0)


class HddmWDetector(DriftDetector[HddmW]):
    """The fading means of all errors, and of those ``before`` and ``after`` the cut; ``cut`` is the lowest bound so far."""

    STATE = ("overall", "before", "after", "cut")

    def restart(self) -> None:
        self.overall = self.before = self.after = EMPTY
        self.cut: float | None = None

    def update(self, error: float) -> bool:
        mean, squares = self.overall = self._faded(self.overall, error)
        bound = mean + self._bound(squares)
        if self.cut is None or bound < self.cut:
            self.cut, self.before, self.after = bound, self.overall, EMPTY
            return False
        after, new = self.after = self._faded(self.after, error)
        before, old = self.before
        has_risen = before is not None and after - before > self._bound(old + new)
        if has_risen:
            self.restart()
        return has_risen

    def _faded(self, mean: FadingMean, error: float) -> tuple[float, float]:
        value, squares = mean
        fade = self.parameters.fade
        rest = 1 - fade
        return error if value is None else fade * error + rest * value, fade**2 + rest**2 * squares

    def _bound(self, squares: float) -> float:
        return math.sqrt(squares * math.log(1 / self.parameters.confidence) / 2)

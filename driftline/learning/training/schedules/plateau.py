"""A smaller rate where the error no longer falls."""

from __future__ import annotations

from driftline.learning.runtime import ExampleSource
from driftline.learning.training.schedules import ScheduleRuntime
from driftline.learning.training.training_step import TrainingStep
from driftline.spec.parts.schedules import Plateau

MIN_FALL = 1e-4
"""The share by which an error must fall to have fallen, as in torch."""


class PlateauSchedule(ScheduleRuntime[Plateau]):
    """``share`` is that of the rate; ``total`` the sum of ``count`` errors; ``lowest`` their lowest mean so far, or None."""

    STATE = ("share", "lowest", "total", "count")

    def restart(self, labels: int) -> None:
        self.share = 1.0
        self.lowest: float | None = None
        self.total = 0.0
        self.count = 0

    def factor(self, labels: int) -> float:
        return max(self.parameters.floor, self.share)

    def on_error(self, error: float) -> None:
        self.total += error
        self.count += 1
        if self.count < self.parameters.labels:
            return
        mean = self.total / self.count
        if self.lowest is not None and mean >= self.lowest * (1 - MIN_FALL):
            self.share = max(self.parameters.floor, self.share) / 2
        self.lowest = mean if self.lowest is None else min(mean, self.lowest)
        self.total, self.count = 0.0, 0

    def on_drift(self, step: TrainingStep, replay: ExampleSource, labels: int) -> None:
        self.restart(step.state.labels)

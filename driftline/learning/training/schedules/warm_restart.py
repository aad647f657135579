"""A fall along a cosine after each alarm."""

from __future__ import annotations

import math

from driftline.learning.runtime import ExampleSource
from driftline.learning.training.schedules import ScheduleRuntime
from driftline.learning.training.training_step import TrainingStep
from driftline.spec.parts.schedules import WarmRestart


class WarmRestartSchedule(ScheduleRuntime[WarmRestart]):
    """The fall has begun after ``since`` labels."""

    STATE = ("since",)

    def restart(self, labels: int) -> None:
        self.since = labels

    def factor(self, labels: int) -> float:
        floor, share = self.parameters.floor, min(1.0, (labels - self.since) / self.parameters.labels)
        return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2

    def on_drift(self, step: TrainingStep, replay: ExampleSource, labels: int) -> None:
        self.restart(step.state.labels)

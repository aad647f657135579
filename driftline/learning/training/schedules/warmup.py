"""A gentle beginning."""

from __future__ import annotations

from driftline.learning.training.schedules import ScheduleRuntime
from driftline.spec.parts.schedules import Warmup


class WarmupSchedule(ScheduleRuntime[Warmup]):
    """The rise has begun after ``since`` labels."""

    STATE = ("since",)

    def restart(self, labels: int) -> None:
        self.since = labels

    def factor(self, labels: int) -> float:
        return min(1.0, max(1.0, labels - self.since) / self.parameters.labels)

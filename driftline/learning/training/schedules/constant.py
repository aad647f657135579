"""One rate for ever."""

from __future__ import annotations

from driftline.learning.training.schedules import ScheduleRuntime
from driftline.spec.parts.schedules import Constant


class ConstantSchedule(ScheduleRuntime[Constant]):
    """The rate stays."""

    def factor(self, labels: int) -> float:
        return 1.0

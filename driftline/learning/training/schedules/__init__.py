"""How the learning rate changes as labels are learned, one schedule a file.

A stream has no end, so none counts towards one: what moves a schedule is a label learned, an error served, or a drift alarm.
"""

from __future__ import annotations

from typing import Any, TypeVar

from driftline.learning.runtime import Runtime
from driftline.spec.parts.schedules import Schedule
from driftline.spec.registry import Behaviours

S = TypeVar("S", bound=Schedule)


class ScheduleRuntime(Runtime[S]):
    """A schedule at work, which begins after so many ``labels``."""

    def __init__(self, parameters: S, labels: int) -> None:
        super().__init__(parameters)
        self.restart(labels)

    def restart(self, labels: int) -> None:
        """Sets the state of a beginning after so many labels."""

    def factor(self, labels: int) -> float:
        """What the learning rate is multiplied by after so many labels, above 0 and up to 1."""
        raise NotImplementedError


SCHEDULE_RUNTIMES: Behaviours[Schedule, ScheduleRuntime[Any]] = Behaviours(ScheduleRuntime, __name__)


def schedule_runtime(schedule: Schedule, labels: int) -> ScheduleRuntime[Any]:
    """A schedule that begins after so many labels."""
    return SCHEDULE_RUNTIMES.of(schedule)(schedule, labels)

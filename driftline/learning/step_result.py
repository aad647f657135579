"""What a step of a learner has done."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline.learning.monitoring.monitor import Alarm
from driftline.learning.promotion.gate import Decision


@dataclass(frozen=True)
class StepResult:
    """What a step has done; records are named by log number.

    ``forked`` names the retrain job that an alarm has begun, ``dropped`` the one that a rollback has ended.
    """

    scored: int = 0
    alarms: list[Alarm] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    decision: Decision | None = None
    forked: str | None = None
    dropped: str | None = None

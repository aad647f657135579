"""What a step of a learner has done."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline.learning.monitoring.monitor import Alarm, ServedRow
from driftline.learning.promotion.gate import Decision
from driftline.learning.training.returned import Return


@dataclass(frozen=True)
class StepResult:
    """What a step has done; records are named by log number.

    ``served`` are the labels that bring an answer, with their scores. ``forked`` names the retrain job that an alarm has begun,
    ``dropped`` the one that a rollback has ended. ``over`` are the kinds of alarms whose cause is over.
    ``returned`` tells of former concepts that are gone on with. ``released`` are the ids of those
    that had been quarantined and are learned after all.
    """

    served: list[ServedRow] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    decision: Decision | None = None
    forked: str | None = None
    dropped: str | None = None
    over: list[str] = field(default_factory=list)
    returned: list[Return] = field(default_factory=list)
    released: dict[int, str] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        """How many labels brought the answer of what is served to all."""
        return sum(item.route == "live" for item, _ in self.served)

    def joined(self, later: StepResult) -> StepResult:
        """What this and a later part of a step have done."""
        return StepResult(
            [*self.served, *later.served],
            [*self.alarms, *later.alarms],
            {**self.rejected, **later.rejected},
            {**self.quarantined, **later.quarantined},
            later.decision or self.decision,
            later.forked or self.forked,
            later.dropped or self.dropped,
            [*self.over, *later.over],
            [*self.returned, *later.returned],
            {**self.released, **later.released},
        )

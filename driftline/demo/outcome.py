"""The results of the demo so far, and its verdict at the end."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, field

from driftline.demo.digits import PHASES

WINDOW = 200
"""How many of the last answers accuracy is measured over."""
GOOD_ACCURACY = 0.85
"""From here on a model counts as recovered."""


@dataclass
class PhaseRecord:
    """One phase: the accuracy over the last answers before it, at its lowest and at its end.

    ``lasted`` are its seconds, and ``waiting`` the labels that were not learned at its end.
    """

    name: str
    start: float
    before: float | None
    lowest: float = 1.0
    last: float = 0.0
    recovered: float | None = None
    lasted: float = 0.0
    waiting: int = 0

    @property
    def is_good(self) -> bool:
        """Whether the model was good over the last answers."""
        return self.last >= GOOD_ACCURACY

    def update(self, now: float, accuracy: float) -> None:
        """Take in the accuracy at ``now``, seconds since the stream began."""
        self.last = accuracy
        if accuracy < self.lowest:
            self.lowest = accuracy
        if accuracy < GOOD_ACCURACY:
            self.recovered = None
        elif self.recovered is None:
            self.recovered = now - self.start


@dataclass
class DemoOutcome:
    """Counts and times of one run; times are in seconds since the stream began."""

    seconds: float
    began: float = field(default_factory=time.monotonic)
    activity: str = "starting"
    right: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    line: list[tuple[float, float]] = field(default_factory=list)
    phases: list[PhaseRecord] = field(default_factory=list)
    answered: int = 0
    failed: int = 0
    predict_seconds: list[float] = field(default_factory=list)
    acknowledged: int = 0
    lost: int = 0
    learned: int = 0
    served: int = 0
    version: int = 1
    alarms: set[str] = field(default_factory=set)
    label_to_served: list[float] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def now(self) -> float:
        """Seconds since the stream began."""
        return time.monotonic() - self.began

    @property
    def length(self) -> float:
        """Seconds that the stream lasts: more than planned, where the machine is busy."""
        return max(self.seconds, self.line[-1][0] if self.line else 0.0)

    @property
    def accuracy(self) -> float | None:
        """The share of right answers among the last ones; None before the first."""
        return sum(self.right) / len(self.right) if self.right else None

    @property
    def labels_owed(self) -> int:
        """Answered predictions whose label is not back yet."""
        return self.answered - self.acknowledged - self.lost

    @property
    def labels_waiting(self) -> int:
        """Acknowledged labels that are not learned yet."""
        return max(0, self.acknowledged - self.learned)

    def enter(self, index: int) -> None:
        """A new phase begins."""
        self.phases.append(PhaseRecord(PHASES[index].name, self.now, self.accuracy))

    def leave(self) -> None:
        """The phase is over."""
        phase = self.phases[-1]
        phase.lasted, phase.waiting = self.now - phase.start, self.labels_waiting

    def answer(self, is_right: bool, seconds: float) -> None:
        """A prediction was answered."""
        self.answered += 1
        self.right.append(is_right)
        self.predict_seconds.append(seconds)

    def fail(self, reason: str) -> None:
        """A prediction was not answered."""
        self.failed += 1
        self._note(f"a request failed: {reason}")

    def lose(self, reason: str) -> None:
        """A label was refused."""
        self.lost += 1
        self._note(f"a label was lost: {reason}")

    def _note(self, reason: str) -> None:
        if len(self.trouble) < 5:
            self.trouble.append(reason)

    def sample(self) -> None:
        """Add the current accuracy to the curve."""
        accuracy = self.accuracy
        if accuracy is None or len(self.right) < 20:
            return
        self.line.append((self.now, accuracy))
        # The window still holds answers of the phase before.
        if self.phases and self.now - self.phases[-1].start > 0.02 * self.seconds:
            self.phases[-1].update(self.now, accuracy)

    def failures(self) -> list[str]:
        """A sentence for each failure."""
        found = []
        if self.failed:
            found.append(f"{self.failed} of {self.answered + self.failed} requests failed")
        if self.lost or self.labels_owed:
            found.append(f"{self.lost + self.labels_owed} labels were lost")
        if self.served != self.acknowledged:
            found.append(f"{self.served} of {self.acknowledged} acknowledged labels are served")
        if self.learned != self.acknowledged:
            found.append(f"{self.learned} labels are learned, {self.acknowledged} were acknowledged")
        for phase in self.phases:
            if not phase.is_good:
                found.append(
                    f"accuracy did not come back within {phase.lasted:.0f} s: {phase.last:.2f} at the end of "
                    f"'{phase.name}'" + _reason(phase)
                )
        return [*found, *self.trouble]

    @property
    def typical_label_to_served(self) -> float | None:
        """The median time from acknowledging a label to serving what it taught."""
        return statistics.median(self.label_to_served) if self.label_to_served else None


def _reason(phase: PhaseRecord) -> str:
    if not phase.waiting:
        return ", though every label was learned"
    return f", when {phase.waiting:,} labels were not learned yet: this machine is busy; give it longer with --seconds"

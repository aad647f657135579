"""When a trainer's next step, candidate and checkpoint are due."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from driftline.store.log import LogEntry

from .durations import Durations
from .time_budget import TimeBudget


class StepSchedule:
    """Seconds, by this process's clock, until something is due; 0 or less: now. The plan of a step records what was done.

    Publishing and checkpoints each have a share of the trainer's time as their budget; publishing saves some of it while few
    labels come, so that one that comes soon after another is served as soon.

    Args:
        checkpoint_seconds: the longest time between two checkpoints while there are steps.
        first_retry_seconds: the shortest delay before a refused candidate is tried again.
        last_retry_seconds: the longest such delay.
        publish_seconds: the shortest time between two candidates while more labels wait.
        durations: where the time that steps, versions and checkpoints have taken is counted.
        repeated_seconds: the work after which a checkpoint is due: a recovery would have to repeat it.
    """

    def __init__(
        self,
        checkpoint_seconds: float,
        first_retry_seconds: float = 0.1,
        last_retry_seconds: float = 60.0,
        publish_seconds: float = 1.0,
        repeated_seconds: float = 4.0,
        durations: Durations | None = None,
    ) -> None:
        self.durations = durations or Durations()
        self.checkpoint_seconds = checkpoint_seconds
        self.publish_seconds = publish_seconds
        self.repeated_seconds = repeated_seconds
        self.first_retry_seconds = first_retry_seconds
        self.last_retry_seconds = last_retry_seconds
        self.publishing = TimeBudget(saved_seconds=5.0)
        self.checkpointing = TimeBudget()
        self.begin()

    def begin(self) -> None:
        """Begins with no waiting label and no refused candidate, and with a checkpoint that was just read."""
        self._oldest, self._waits_since = 0, math.inf
        self._retry_seconds = self._retry_at = 0.0
        self._checkpointed_at = self._tried_at = time.monotonic()
        self._worked = 0.0

    def look(self, waiting: Sequence[LogEntry], now: float) -> None:
        """Notes since when the oldest label waits, once for each label: if the clock is set later, it does not wait longer.

        Args:
            waiting: the records that are not learned yet, oldest first.
            now: the time by the clock of the log.
        """
        if not waiting:
            self._oldest, self._waits_since = 0, math.inf
        elif waiting[0].n != self._oldest:
            self._oldest = waiting[0].n
            self._waits_since = time.monotonic() - max(0.0, now - waiting[0].time)

    @property
    def is_waiting(self) -> bool:
        """Whether a label waits."""
        return self._oldest > 0

    def until_step(self, seconds: float) -> float:
        """Seconds until the oldest waiting label has waited for ``seconds``."""
        return self._waits_since + seconds - time.monotonic()

    def is_candidate_due(self, more_wait: bool) -> bool:
        """Whether a step over waiting labels is to put a candidate to the gate: after the last of them, and now and then."""
        return self.publishing.is_open and (not more_wait or time.monotonic() >= self._tried_at + self.publish_seconds)

    def tried(self) -> None:
        """A candidate was put to the gate."""
        self._tried_at = time.monotonic()

    @property
    def until_candidate(self) -> float:
        """Seconds until another candidate may be put to the gate."""
        return max(self._retry_at, self.publishing.due_at) - time.monotonic()

    @property
    def was_refused(self) -> bool:
        """Whether the last candidate was refused."""
        return self._retry_seconds > 0

    def refused(self, seconds: float) -> None:
        """A candidate was refused: the next one is due after ``seconds``, and later after each further refusal."""
        longer = max(seconds, 2 * self._retry_seconds, self.first_retry_seconds)
        self._retry_seconds = min(self.last_retry_seconds, longer)
        self._retry_at = time.monotonic() + self._retry_seconds

    def published(self, seconds: float) -> None:
        """A version has gone live; publishing it took ``seconds``."""
        self.durations.version.observe(seconds)
        self.publishing.spent(seconds)
        self._retry_seconds = self._retry_at = 0.0

    @property
    def until_checkpoint(self) -> float:
        """Seconds until the next checkpoint is due, if there was a step."""
        is_much = self._worked >= self.repeated_seconds
        due_at = self._checkpointed_at + self.checkpoint_seconds * (not is_much)
        return max(due_at, self.checkpointing.due_at) - time.monotonic()

    def worked(self, seconds: float) -> None:
        """A step was computed, which took ``seconds``."""
        self.durations.step.observe(seconds)
        self._worked += seconds

    def checkpointed(self, seconds: float) -> None:
        """A checkpoint was written, which took ``seconds``."""
        self._checkpointed_at = time.monotonic()
        self._worked = 0.0
        self.durations.checkpoint.observe(seconds)
        self.checkpointing.spent(seconds)

"""How the learning rate changes as labels are learned, one schedule a file. Their state is numbers.

A stream has no end, so none counts towards one: what moves a schedule is a label learned, an error served, or a drift alarm.
"""

from __future__ import annotations

from driftline.registry import Part, Registry


class Schedule(Part):
    """Parameters of a schedule. ``labels`` in its methods is how many have been learned so far."""

    name: str

    def start(self, labels: int) -> dict[str, float]:
        """The state at its beginning: numbers by name."""
        return {}

    def factor(self, state: dict[str, float], labels: int) -> float:
        """What the learning rate is multiplied by, above 0 and up to 1."""
        raise NotImplementedError

    def score(self, state: dict[str, float], error: float) -> None:
        """Takes in the error of the next prediction that was served."""

    def alarm(self, state: dict[str, float], labels: int) -> None:
        """The world has changed."""


SCHEDULES = Registry(Schedule, __name__)

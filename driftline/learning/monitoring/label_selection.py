"""Whether labels come for wrong answers alone: then the accuracy that they show is not that of the traffic."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from driftline.learning.stateful import State, Stateful
from driftline.learning.trust.departure import Departure

KIND = "wrong_only"
"""What the alarm is called."""
MIN_KNOWN = 30
STANDARD_ERRORS = 2.0
NEAR_SHARE = 0.25
"""So many errors are below half of their median at least, where none is as frequent as a small one."""


@dataclass(frozen=True)
class Wrongness:
    """What is a wrong answer: one whose error is ``from_error`` at least; and how often answers are wrong, at most.

    ``counts`` are those of the newest labels by class, of a classification.
    """

    from_error: float
    at_most: float
    counts: Sequence[float] = ()

    @classmethod
    def of_classes(cls, counts: Sequence[float]) -> Wrongness | None:
        """Any other class; ``counts`` are those of the newest labels by class. None before the first label."""
        total = sum(counts)
        return cls(1.0, 1 - max(counts) / total / 2, counts) if total > 0 else None

    @classmethod
    def of_values(cls, errors: Sequence[float]) -> Wrongness | None:
        """A value that is farther off than half the median of the newest ``errors``; None while these are too few."""
        return cls(statistics.median(errors) / 2, 1 - NEAR_SHARE) if len(errors) >= MIN_KNOWN else None

    def of(self, errors: Sequence[float]) -> list[float]:
        """Of each error 1 where it is that of a wrong answer, else 0."""
        return [float(error >= self.from_error) for error in errors]

    def at_most_of(self, answer: int) -> float:
        """How often an answer is wrong at most; of classes, one of the class at this place."""
        if not self.counts:
            return self.at_most
        return 1 - self.counts[answer] / sum(self.counts) / 2 if 0 <= answer < len(self.counts) else 1.0


def knows_better(known: int, right: int, most: int) -> bool:
    """Whether a model is ``right`` about more of the ``known`` labels than the ``most`` that one answer would be, by more than
    chance."""
    by_chance = most + STANDARD_ERRORS * math.sqrt(most * (known - most) / max(1, known))
    return known >= MIN_KNOWN and right > by_chance


class LabelSelection(Stateful):
    """Follows whether answers that are labelled are wrong more often than with honest labels of a model that learns.

    Of classes that is where an answer is right less often than half the share of its class among the newest labels: what a
    model answers that knows nothing is right as often as that share says, whatever it answers. Of a value it is where fewer
    than a quarter of the errors are below half of their median: where no error is as frequent as a small one, as of any
    distribution with one peak at 0, at least a quarter is (:class:`Wrongness`). A model may err so for a while after a drift,
    but not once it has learned what is so now. So what counts are answers by versions that have learned ``taught_after``
    labels since errors began to be so many, or since the last drift alarm.

    ``rise`` bets on all answers, and says since which record they are so bad, or, where it ``follows_drift``, since which
    after the alarm; ``taught`` labels have come since, and from version ``counted_from`` on answers count, which ``bet`` bets
    on: ``right`` of ``counted`` were right.
    """

    STATE = ("rise", "follows_drift", "bet", "taught", "counted_from", "counted", "right")
    DERIVED = ("taught_after",)

    def __init__(self, taught_after: int = 128) -> None:
        self.taught_after = taught_after
        self.begin_again()

    def begin_again(self) -> None:
        """What answers were like until now says nothing of the next ones."""
        self.rise, self.bet = Departure(0.0), Departure(0.0)
        self.follows_drift = False
        self.taught = self.counted = self.right = 0
        self.counted_from: int | None = None

    def on_drift(self) -> None:
        """No version knows what is so since a drift. Further alarms, while answers stay as bad, are about the same one."""
        if not self.follows_drift:
            self.begin_again()
            self.follows_drift = True

    def update(self, n: int, is_right: bool, version: int, expected: float, next_version: int) -> None:
        """Takes in whether the answer of ``version`` that label ``n`` is about was right.

        Args:
            expected: how often answers are wrong at most.
            next_version: the first one that may have learned this label.
        """
        self.rise.update(n, float(not is_right), expected)
        if self.rise.is_at_its_beginning:
            self.begin_again()
            return
        self.taught += 1
        if self.counted_from is None and self.taught >= self.taught_after:
            self.counted_from = next_version
        if self.counted_from is not None and version >= self.counted_from:
            self.bet.update(n, float(not is_right), expected)
            self.counted += 1
            self.right += is_right

    @property
    def since(self) -> int | None:
        """The record since which answers are so often wrong that only such may be labelled; None where they are not."""
        return self.rise.since if self.bet.has_departed else None

    @property
    def error(self) -> float:
        """How many of the answers that count were wrong."""
        return 1 - self.right / self.counted

    def message(self, because: str) -> str:
        """What is told of it, and why."""
        return (
            f"labels seem to come for wrong answers alone: since record {self.since} {self.right} of {self.counted} answers "
            f"were right, by versions that had learned what is so since then, {because}. The accuracy is not that of all "
            "answers, and what is right without a label may be forgotten: have a random part of all answers labelled"
        )

    def packed(self, name: str) -> Any:
        value = getattr(self, name)
        return msgspec.to_builtins(value) if isinstance(value, Departure) else value

    def restored(self, name: str, state: State) -> Any:
        value = state.data[name]
        return msgspec.convert(value, Departure) if isinstance(getattr(self, name), Departure) else value

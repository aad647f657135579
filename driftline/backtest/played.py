"""What a contender has answered to a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline.records import Label


@dataclass
class Played:
    """What a contender has answered to each row; of a learner also how it got on.

    Args:
        likelihoods: the probability that each label was given, none for a regression and a base line.
        alarms: the rows, counted from 1, whose labels raised one.
        versions: how many were served. ``rejected`` counts the candidates that were not.
    """

    answers: list[Label | None] = field(default_factory=list)
    likelihoods: list[float] = field(default_factory=list)
    alarms: list[int] = field(default_factory=list)
    versions: int = 0
    rejected: int = 0
    seconds: float = 0.0

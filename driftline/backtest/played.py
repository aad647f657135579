"""The answers of a contender to a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline.records import Label


@dataclass
class Played:
    """The answers of a contender to each row; of a learner also its alarms, versions and speed.

    Args:
        likelihoods: the probability that each label was given; empty for a regression and for a baseline.
        alarms: the rows, counted from 1, whose labels raised one.
        versions: how many versions were served. ``rejected`` counts the candidates that were not.
    """

    answers: list[Label | None] = field(default_factory=list)
    likelihoods: list[float] = field(default_factory=list)
    alarms: list[int] = field(default_factory=list)
    versions: int = 0
    rejected: int = 0
    seconds: float = 0.0

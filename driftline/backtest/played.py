"""The answers of a contender to a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from driftline.records import Label


@dataclass
class Played:
    """The answers of a contender to each row; of a learner also its alarms, versions and speed.

    Args:
        probabilities: ``[rows, classes]``, of the stream's classes; None for a regression and for a baseline. That of a class
            that was not known yet is NaN.
        values: ``[rows, width]``, of a regression the numbers of each answer; None of a baseline.
        alarms: the rows, counted from 1, whose labels raised one.
        input_alarms: those since which the inputs, of rows with and without a label, were seen to have moved.
        versions: how many versions were served. ``rejected`` counts the candidates that were not.
    """

    answers: list[Label | None] = field(default_factory=list)
    probabilities: NDArray[np.float32] | None = None
    values: NDArray[np.float32] | None = None
    alarms: list[int] = field(default_factory=list)
    input_alarms: list[int] = field(default_factory=list)
    versions: int = 0
    rejected: int = 0
    seconds: float = 0.0

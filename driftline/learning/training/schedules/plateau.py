"""A smaller rate where the error no longer falls."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from driftline.learning.training.schedules import Schedule

LEAST_FALL = 1e-4
"""The share by which an error must fall to have fallen, as in torch."""


class Plateau(Schedule):
    """Halves the rate, down to the share ``floor`` of it, when the prequential error has not fallen for ``labels`` labels.

    The mean error of each ``labels`` labels is compared with the lowest before. A drift alarm brings the full rate back.
    """

    name: Literal["plateau"] = "plateau"
    labels: int = Field(2000, ge=10, le=1_000_000_000)
    floor: float = Field(0.01, ge=0.0001, le=1)

    def start(self, labels: int) -> dict[str, float]:
        return {"factor": 1.0, "lowest": math.inf, "total": 0.0, "count": 0}

    def factor(self, state: dict[str, float], labels: int) -> float:
        return max(self.floor, state["factor"])

    def score(self, state: dict[str, float], error: float) -> None:
        state["total"] += error
        state["count"] += 1
        if state["count"] < self.labels:
            return
        mean = state["total"] / state["count"]
        if mean >= state["lowest"] * (1 - LEAST_FALL):
            state["factor"] = self.factor(state, 0) / 2
        state |= {"lowest": min(mean, state["lowest"]), "total": 0.0, "count": 0}

    def alarm(self, state: dict[str, float], labels: int) -> None:
        state |= self.start(labels)

"""A fall along a cosine behind each alarm."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from driftline.learning.training.schedules import Schedule


class WarmRestart(Schedule):
    """From the full rate along a cosine to the share ``floor`` of it, over ``labels`` labels, and anew at each drift alarm
    (SGDR, Loshchilov & Hutter 2017, equation 5).
    """

    name: Literal["warm_restart"] = "warm_restart"
    labels: int = Field(5000, ge=1, le=1_000_000_000)
    floor: float = Field(0.1, ge=0.0001, le=1)

    def start(self, labels: int) -> dict[str, float]:
        return {"since": labels}

    def factor(self, state: dict[str, float], labels: int) -> float:
        share = min(1.0, (labels - state["since"]) / self.labels)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2

    def alarm(self, state: dict[str, float], labels: int) -> None:
        state["since"] = labels

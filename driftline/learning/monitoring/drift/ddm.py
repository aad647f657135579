"""DDM: the error rate against the lowest that it has been."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from driftline.learning.monitoring.drift import Detector


class Ddm(Detector):
    """Alarms when the error rate lies ``threshold`` deviations above its lowest (Gama et al. 2004), then starts anew.

    As published it takes long runs without an error for a rate of 0, and then alarms at the next one: it suits models that err.
    """

    name: Literal["ddm"] = "ddm"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    threshold: float = Field(3.0, gt=0)
    grace: int = Field(30, ge=1, description="errors before the first check")

    def start(self) -> dict[str, Any]:
        return {"count": 0, "rate": 0.0, "lowest_rate": None, "lowest_deviation": None}

    def update(self, state: dict[str, Any], error: float) -> bool:
        state["count"] += 1
        state["rate"] += (error - state["rate"]) / state["count"]
        if state["count"] <= self.grace:
            return False
        rate, deviation = state["rate"], math.sqrt(max(0.0, state["rate"] * (1 - state["rate"])) / state["count"])
        if state["lowest_rate"] is None or rate + deviation <= state["lowest_rate"] + state["lowest_deviation"]:
            state["lowest_rate"], state["lowest_deviation"] = rate, deviation
        has_risen = rate + deviation > state["lowest_rate"] + self.threshold * state["lowest_deviation"]
        if has_risen:
            state.update(self.start())
        return bool(has_risen)

"""HDDM with the A-test: the mean error against what it was at its most favourable cut."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from driftline.learning.monitoring.drift import Detector


class HddmA(Detector):
    """Alarms when Hoeffding's inequality excludes that the error has not risen (Frías-Blanco et al. 2015), then starts anew.

    The mean of all errors is compared with the mean up to the cut at which it was surely lowest; ``confidence`` is how often
    chance alone may pass for a rise.
    """

    name: Literal["hddm_a"] = "hddm_a"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    confidence: float = Field(0.001, gt=0, lt=1)

    def start(self) -> dict[str, Any]:
        return {"count": 0, "mean": 0.0, "cut": 0, "cut_mean": 0.0}

    def update(self, state: dict[str, Any], error: float) -> bool:
        state["count"] += 1
        state["mean"] += (error - state["mean"]) / state["count"]
        bound = state["mean"] + self._bound(state["count"])
        if not state["cut"] or state["cut_mean"] + self._bound(state["cut"]) >= bound:
            state["cut"], state["cut_mean"] = state["count"], state["mean"]
            return False
        newer = (state["count"] - state["cut"]) / (state["cut"] * state["count"])
        has_risen = state["mean"] - state["cut_mean"] >= math.sqrt(newer / 2 * math.log(2 / self.confidence))
        if has_risen:
            state.update(self.start())
        return bool(has_risen)

    def _bound(self, count: int) -> float:
        return math.sqrt(math.log(1 / self.confidence) / (2 * count))

"""Page-Hinkley: how far the error's sum has climbed above its lowest."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from driftline.learning.monitoring.drift import Detector


class PageHinkley(Detector):
    """Sums by how much each error exceeds the running mean (Page 1954), and alarms ``threshold`` above the sum's lowest.

    ``delta`` is the excess that is let pass, ``fade`` the share of the sum that each error leaves. Both thresholds are in the
    error's own units: of a regression they must fit what it predicts. Then it starts anew.
    """

    name: Literal["page_hinkley"] = "page_hinkley"
    threshold: float = Field(50.0, gt=0)
    delta: float = Field(0.005, ge=0)
    fade: float = Field(0.9999, gt=0, le=1)
    grace: int = Field(30, ge=1, description="errors before the first check")

    def start(self) -> dict[str, Any]:
        return {"count": 0, "mean": 0.0, "sum": 0.0, "lowest": None}

    def update(self, state: dict[str, Any], error: float) -> bool:
        state["count"] += 1
        state["mean"] += (error - state["mean"]) / state["count"]
        state["sum"] = self.fade * state["sum"] + (error - state["mean"]) - self.delta
        state["lowest"] = state["sum"] if state["lowest"] is None else min(state["lowest"], state["sum"])
        has_risen = state["count"] >= self.grace and state["sum"] - state["lowest"] > self.threshold
        if has_risen:
            state.update(self.start())
        return bool(has_risen)

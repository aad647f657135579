"""EDDM: the distance between errors against the longest that it has been."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from driftline.learning.monitoring.drift import Detector


class Eddm(Detector):
    """Alarms when errors lie closer together than they did (Baena-García et al. 2006), then starts anew.

    The mean distance of two errors and twice its deviation must fall below the share ``beta`` of their highest. It hears slow
    changes early; at the published 0.9 it also hears many that are none, and 0.75 is calmer.
    """

    name: Literal["eddm"] = "eddm"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    beta: float = Field(0.9, gt=0, lt=1)
    grace: int = Field(30, ge=1, description="wrong answers before the first check")

    def start(self) -> dict[str, Any]:
        return {"count": 0, "last": 0, "wrong": 0, "mean": 0.0, "squares": 0.0, "highest": -1.0}

    def update(self, state: dict[str, Any], error: float) -> bool:
        state["count"] += 1
        if not error:
            return False
        _measure(state, state["count"] - state["last"])
        state["last"] = state["count"]
        if state["count"] <= self.grace:
            return False
        variance = state["squares"] / (state["wrong"] - 1) if state["wrong"] > 1 else 0.0
        level = state["mean"] + 2 * math.sqrt(variance)
        if level > state["highest"]:
            state["highest"] = level
            return False
        are_closer = state["wrong"] > self.grace and level / state["highest"] < self.beta
        if are_closer:
            state.update(self.start())
        return bool(are_closer)


def _measure(state: dict[str, Any], distance: int) -> None:
    """Takes a distance into the mean and the squared differences from it (Welford 1962)."""
    state["wrong"] += 1
    before = state["mean"]
    state["mean"] += (distance - before) / state["wrong"]
    state["squares"] += (distance - before) * (distance - state["mean"])

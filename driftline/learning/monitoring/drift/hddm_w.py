"""HDDM with the W-test: fading means of the errors before and behind a cut."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from driftline.learning.monitoring.drift import Detector


class HddmW(Detector):
    """Alarms when McDiarmid's inequality excludes that the error has not risen (Frías-Blanco et al. 2015), then starts anew.

    It compares exponentially weighted means, ``fade`` being the weight of the newest error, so that it hears slow changes too.
    Each mean stands with its sum of squared weights, which bounds how far chance moves it.
    """

    name: Literal["hddm_w"] = "hddm_w"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    confidence: float = Field(0.001, gt=0, lt=1)
    fade: float = Field(0.05, gt=0, lt=1)

    def start(self) -> dict[str, Any]:
        return {"all": [None, 1.0], "before": [None, 1.0], "behind": [None, 1.0], "cut": None}

    def update(self, state: dict[str, Any], error: float) -> bool:
        state["all"] = self._faded(state["all"], error)
        mean, squares = state["all"]
        bound = mean + self._bound(squares)
        if state["cut"] is None or bound < state["cut"]:
            state.update({"cut": bound, "before": state["all"], "behind": [None, 1.0]})
            return False
        state["behind"] = self._faded(state["behind"], error)
        (before, old), (behind, new) = state["before"], state["behind"]
        has_risen = behind - before > self._bound(old + new)
        if has_risen:
            state.update(self.start())
        return bool(has_risen)

    def _faded(self, mean: list[Any], error: float) -> list[Any]:
        value, squares = mean
        rest = 1 - self.fade
        value = error if value is None else self.fade * error + rest * value
        return [value, self.fade**2 + rest**2 * squares]

    def _bound(self, squares: float) -> float:
        return math.sqrt(squares * math.log(1 / self.confidence) / 2)

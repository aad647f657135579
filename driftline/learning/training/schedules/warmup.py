"""A gentle beginning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from driftline.learning.training.schedules import Schedule


class Warmup(Schedule):
    """Rises evenly to the full rate over the first ``labels`` labels of a model or a job (Goyal et al. 2017)."""

    name: Literal["warmup"] = "warmup"
    labels: int = Field(1000, ge=1, le=1_000_000_000)

    def start(self, labels: int) -> dict[str, float]:
        return {"since": labels}

    def factor(self, state: dict[str, float], labels: int) -> float:
        return min(1.0, max(1.0, labels - state["since"]) / self.labels)

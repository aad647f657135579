"""How good the served answers were: test-then-train (prequential) scores, of all labels and of the newest."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

WINDOW = 1000


class Prequential:
    """Scores of what was served (Gama et al. 2013). ``errors`` are 0 or 1, or the absolute errors of a regression."""

    def __init__(self, is_regression: bool) -> None:
        self.is_regression = is_regression
        self.count = 0
        self.total = 0.0
        self.squares = 0.0
        self.window: deque[float] = deque(maxlen=WINDOW)

    def add(self, error: float) -> None:
        self.count += 1
        self.total += error
        self.squares += error**2
        self.window.append(error)

    def shown(self) -> dict[str, Any]:
        """``{"accuracy", "count", "window": {"accuracy", "count", "size"}}``; of a regression ``mae`` and ``rmse``."""
        newest = list(self.window)
        return {
            **self._scores(self.count, self.total, self.squares),
            "window": {
                **self._scores(len(newest), sum(newest), sum(error**2 for error in newest)),
                "size": WINDOW,
            },
        }

    def _scores(self, count: int, total: float, squares: float) -> dict[str, Any]:
        if not count:
            return {"count": 0}
        if self.is_regression:
            return {"mae": total / count, "rmse": math.sqrt(squares / count), "count": count}
        return {"accuracy": 1 - total / count, "count": count}

    def data(self) -> dict[str, Any]:
        return {"count": self.count, "total": self.total, "squares": self.squares, "window": list(self.window)}

    def load(self, data: Mapping[str, Any]) -> None:
        self.count, self.total, self.squares = data["count"], data["total"], data["squares"]
        self.window = deque(data["window"], maxlen=WINDOW)

"""ADWIN: a window that forgets what no longer fits."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from driftline.learning.monitoring.drift import Detector

BUCKETS_A_ROW = 5
SHORTEST_SIDE = 5
SHORTEST_WINDOW = 10


class Adwin(Detector):
    """Cuts its window wherever the means of its two sides differ by more than chance allows (Bifet & Gavaldà 2007).

    The window is an exponential histogram: row ``i`` holds buckets of ``2^i`` errors, oldest first, each with its sum and its
    sum of squared differences from its mean. The check runs every ``clock`` errors, at confidence ``delta``.
    """

    name: Literal["adwin"] = "adwin"
    delta: float = Field(0.002, gt=0, lt=1)
    clock: int = Field(32, ge=1)
    grace: int = Field(100, ge=0, description="errors before the first check")

    def start(self) -> dict[str, Any]:
        return {"rows": [[]], "width": 0, "total": 0.0, "variance": 0.0, "time": 0}

    def update(self, state: dict[str, Any], error: float) -> bool:
        _insert(state, float(error))
        state["time"] += 1
        if state["time"] % self.clock or state["width"] <= max(SHORTEST_WINDOW, self.grace):
            return False
        return self._shrink(state)

    def _shrink(self, state: dict[str, Any]) -> bool:
        """Drops the oldest buckets while a cut is significant; True where the error was lower in what was dropped."""
        has_risen = False
        while (rise := self._cut(state)) is not None:
            has_risen |= rise > 0
            _drop_oldest(state)
        return has_risen

    def _cut(self, state: dict[str, Any]) -> float | None:
        """By how much the mean rises over a significant cut; None where there is no such cut."""
        width, total = state["width"], state["total"]
        spread = state["variance"] / width
        confidence = math.log(2 * math.log(width) / self.delta)
        old_width, old_total = 0, 0.0
        for row in range(len(state["rows"]) - 1, -1, -1):
            for bucket_total, _ in state["rows"][row]:
                old_width += 2**row
                old_total += bucket_total
                new_width = width - old_width
                if new_width < SHORTEST_SIDE:
                    return None
                if old_width < SHORTEST_SIDE:
                    continue
                rise = (total - old_total) / new_width - old_total / old_width
                inverse = 1 / (old_width - SHORTEST_SIDE + 1) + 1 / (new_width - SHORTEST_SIDE + 1)
                bound = math.sqrt(2 * inverse * spread * confidence) + 2 / 3 * inverse * confidence
                if abs(rise) > bound:
                    return float(rise)
        return None


def _insert(state: dict[str, Any], error: float) -> None:
    width, total = state["width"], state["total"]
    if width:
        state["variance"] += width * (error - total / width) ** 2 / (width + 1)
    state["width"], state["total"] = width + 1, total + error
    rows = state["rows"]
    rows[0].append([error, 0.0])
    for row in range(len(rows)):
        if len(rows[row]) <= BUCKETS_A_ROW:
            return
        if row + 1 == len(rows):
            rows.append([])
        (total_a, variance_a), (total_b, variance_b) = rows[row][:2]
        del rows[row][:2]
        size = 2**row
        between = size * (total_a / size - total_b / size) ** 2 / 2
        rows[row + 1].append([total_a + total_b, variance_a + variance_b + between])


def _drop_oldest(state: dict[str, Any]) -> None:
    rows = state["rows"]
    size = 2 ** (len(rows) - 1)
    total, variance = rows[-1].pop(0)
    state["width"] -= size
    state["total"] -= total
    if state["width"]:
        mean = state["total"] / state["width"]
        between = size * state["width"] * (total / size - mean) ** 2 / (size + state["width"])
        state["variance"] = max(0.0, state["variance"] - variance - between)
    while len(rows) > 1 and not rows[-1]:
        rows.pop()

"""ADWIN: a window that forgets what no longer fits."""

from __future__ import annotations

import math
from typing import Any

from driftline.learning.monitoring.drift import DriftDetector
from driftline.learning.stateful import State, copied
from driftline.spec.parts.detectors import Adwin

MAX_BUCKETS = 5
"""Of a row of the histogram."""
MIN_SIDE, MIN_WINDOW = 5, 10
"""How many errors each side of a cut, and the whole window, have at least."""


class AdwinDetector(DriftDetector[Adwin]):
    """``rows`` is the histogram; ``width``, ``total`` and ``variance`` are those of the whole window."""

    STATE = ("rows", "width", "total", "variance", "time")

    def restart(self) -> None:
        self.rows: list[list[list[float]]] = [[]]
        self.width = 0
        self.total = 0.0
        self.variance = 0.0
        self.time = 0

    def restored(self, name: str, state: State) -> Any:
        # Its buckets are written in place.
        return copied(state.data[name]) if name == "rows" else super().restored(name, state)

    def update(self, error: float) -> bool:
        self._insert(float(error))
        self.time += 1
        if self.time % self.parameters.clock or self.width <= max(MIN_WINDOW, self.parameters.grace):
            return False
        return self._shrink()

    def _shrink(self) -> bool:
        """Drops the oldest buckets while a cut is significant; True where the error was lower in what was dropped."""
        has_risen = False
        while (rise := self._cut()) is not None:
            has_risen |= rise > 0
            self._drop_oldest()
        return has_risen

    def _cut(self) -> float | None:
        """By how much the mean rises over a significant cut; None where there is no such cut."""
        width, total = self.width, self.total
        spread = self.variance / width
        confidence = math.log(2 * math.log(width) / self.parameters.delta)
        old_width, old_total = 0, 0.0
        for row in range(len(self.rows) - 1, -1, -1):
            for bucket_total, _ in self.rows[row]:
                old_width += 2**row
                old_total += bucket_total
                new_width = width - old_width
                if new_width < MIN_SIDE:
                    return None
                if old_width < MIN_SIDE:
                    continue
                rise = (total - old_total) / new_width - old_total / old_width
                inverse = 1 / (old_width - MIN_SIDE + 1) + 1 / (new_width - MIN_SIDE + 1)
                bound = math.sqrt(2 * inverse * spread * confidence) + 2 / 3 * inverse * confidence
                if abs(rise) > bound:
                    return float(rise)
        return None

    def _insert(self, error: float) -> None:
        width, total = self.width, self.total
        if width:
            self.variance += width * (error - total / width) ** 2 / (width + 1)
        self.width, self.total = width + 1, total + error
        rows = self.rows
        rows[0].append([error, 0.0])
        for row in range(len(rows)):
            if len(rows[row]) <= MAX_BUCKETS:
                return
            if row + 1 == len(rows):
                rows.append([])
            (total_a, variance_a), (total_b, variance_b) = rows[row][:2]
            del rows[row][:2]
            size = 2**row
            between = size * (total_a / size - total_b / size) ** 2 / 2
            rows[row + 1].append([total_a + total_b, variance_a + variance_b + between])

    def _drop_oldest(self) -> None:
        rows = self.rows
        size = 2 ** (len(rows) - 1)
        total, variance = rows[-1].pop(0)
        self.width -= size
        self.total -= total
        if self.width:
            mean = self.total / self.width
            between = size * self.width * (total / size - mean) ** 2 / (size + self.width)
            self.variance = max(0.0, self.variance - variance - between)
        while len(rows) > 1 and not rows[-1]:
            rows.pop()

"""Which class was answered for which, and how sure answers were, in a window of labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from driftline.learning.monitoring.running_metrics import BINS, ScoredPrediction

MAX_CONFUSED = 10
"""How many classes a confusion matrix tells of."""


class WindowTables:
    """Counts of a classification's labels as they enter a window and leave it; what they say follows from the window."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[float, float], int] = {}
        self.bins = [[0.0, 0.0, 0.0] for _ in range(BINS)]

    def enter(self, rows: Iterable[ScoredPrediction]) -> None:
        """Takes labels in."""
        self._count(rows, 1)

    def leave(self, rows: Iterable[ScoredPrediction]) -> None:
        """Takes labels out again."""
        self._count(rows, -1)

    def _count(self, rows: Iterable[ScoredPrediction], sign: int) -> None:
        pairs, bins = self.pairs, self.bins
        for row in rows:
            truth, answer, confidence = row.truth, row.answer, row.confidence
            pair = truth, answer
            pairs[pair] = pairs.get(pair, 0) + sign
            share = bins[min(BINS - 1, int(BINS * confidence))]
            share[0] += sign
            share[1] += sign * confidence
            if truth == answer:
                share[2] += sign

    def confusion(self, names: Sequence[int | str], classes: Sequence[int]) -> dict[str, Any]:
        """``{"classes", "counts"}`` of some classes, by their numbers: a row for each that was right, a column for each that
        was answered.
        """
        shown = classes[:MAX_CONFUSED]
        counts = [[self.pairs.get((truth, answer), 0) for answer in shown] for truth in shown]
        return {"classes": [names[number] for number in shown], "counts": counts}

    def calibration(self) -> list[dict[str, float]]:
        """Of each bin of confidence that has answers: their mean ``confidence``, ``accuracy`` and ``count``."""
        return [
            {"confidence": min(1.0, max(0.0, sure / count)), "accuracy": right / count, "count": int(count)}
            for count, sure, right in self.bins
            if count
        ]

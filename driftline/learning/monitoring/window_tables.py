"""Which class was answered for which, and how sure answers were, in a window of labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from driftline.learning.monitoring.running_metrics import BINS, ScoredPrediction

MAX_CONFUSED = 10
"""How many classes a confusion matrix tells of."""


class WindowTables:
    """Counts of a classification's labels, by weight, as they enter a window and leave it; all follows from the window."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[float, float], float] = {}
        self.bins = [[0.0, 0.0, 0.0] for _ in range(BINS)]

    def enter(self, rows: Iterable[ScoredPrediction]) -> None:
        """Takes labels in."""
        self._count(rows, 1.0)

    def leave(self, rows: Iterable[ScoredPrediction]) -> None:
        """Takes labels out again."""
        self._count(rows, -1.0)

    def _count(self, rows: Iterable[ScoredPrediction], sign: float) -> None:
        pairs, bins = self.pairs, self.bins
        for row in rows:
            truth, answer, confidence, weight = row.truth, row.answer, row.confidence, sign * row.weight
            pair = truth, answer
            pairs[pair] = pairs.get(pair, 0.0) + weight
            share = bins[min(BINS - 1, int(BINS * confidence))]
            share[0] += weight
            share[1] += weight * confidence
            if truth == answer:
                share[2] += weight

    def confusion(self, names: Sequence[int | str], classes: Sequence[int]) -> dict[str, Any]:
        """``{"classes", "counts"}`` of some classes, by their numbers: a row for each that was right, a column for each that
        was answered.
        """
        shown = classes[:MAX_CONFUSED]
        counts = [[_counted(self.pairs.get((truth, answer), 0.0)) for answer in shown] for truth in shown]
        return {"classes": [names[number] for number in shown], "counts": counts}

    def calibration(self) -> list[dict[str, float]]:
        """Of each bin of confidence that has answers: their mean ``confidence``, ``accuracy`` and ``count``."""
        return [
            {"confidence": min(1.0, max(0.0, sure / count)), "accuracy": right / count, "count": _counted(count)}
            for count, sure, right in self.bins
            if _counted(count)
        ]


def _counted(weights: float) -> float:
    """A sum of weights without what rounding leaves of those that were taken out again."""
    return round(weights, 6)

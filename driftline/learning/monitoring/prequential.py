"""How good the served answers were: test-then-train (prequential) scores, of all labels and of the newest."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain, islice, repeat
from typing import Any

import numpy as np

from driftline.learning.monitoring.running_metrics import (
    ClassificationMetrics,
    RegressionMetrics,
    ScoredPrediction,
    surprise,
)
from driftline.records import Item

WINDOW = 1000
FADE = 0.999
HEAVIEST = 1e9
MOST_CLASSES = 20
LARGEST = 3.4e38


class Prequential:
    """Scores of what was served (Gama et al. 2013): of all labels, of the newest ``WINDOW``, and of all as older ones fade."""

    def __init__(self, is_regression: bool) -> None:
        self.is_regression = is_regression
        self.names: list[int | str] = []
        self.all = self._tally()
        self.fading = self._tally()
        self.weight = 1.0
        self.newest = self._tally()
        self.window: deque[ScoredPrediction] = deque(maxlen=WINDOW)
        self._numbers: dict[tuple[type, int | str], int] = {}

    def _tally(self) -> ClassificationMetrics | RegressionMetrics:
        return RegressionMetrics() if self.is_regression else ClassificationMetrics()

    @property
    def count(self) -> int:
        return int(self.all.count)

    def score(self, n: int, item: Item, index: int | None) -> ScoredPrediction:
        """Compares what was served for an item with its label.

        Args:
            index: where the label's class stands in the answer; None where that is not known, and for a regression.
        """
        assert item.answer is not None
        outputs = np.frombuffer(item.answer.outputs, "<f4")
        if self.is_regression:
            value, label = float(outputs[0]), float(item.label)
            value = value if math.isfinite(value) else LARGEST
            return ScoredPrediction(n, label, value, abs(value - label))
        served = item.answer.label
        is_right = type(served) is type(item.label) and served == item.label
        confidence = min(1.0, max(0.0, float(outputs.max()))) if len(outputs) else 0.0
        if index is None:
            likelihood = confidence if is_right else (1 - confidence) / max(1, len(outputs) - 1)
        else:
            likelihood = float(outputs[index]) if index < len(outputs) else 0.0
        truth = self._number(item.label)  # type: ignore[arg-type]
        answer = -1 if served is None else truth if is_right else self._number(served)
        return ScoredPrediction(n, truth, answer, float(not is_right), surprise(likelihood), confidence)

    def _number(self, name: int | str) -> int:
        """Classes are numbered as they are seen: an edit may give the network's own order another meaning."""
        key = (type(name), name)
        if key not in self._numbers:
            self._numbers[key] = len(self.names)
            self.names.append(name)
        return self._numbers[key]

    def add(self, rows: Sequence[ScoredPrediction]) -> None:
        """Takes labels in, in their order."""
        self.all.add(rows)
        self._fade(rows)
        if isinstance(self.newest, ClassificationMetrics):
            gone = max(0, len(self.window) + len(rows) - WINDOW)
            self.newest.add(islice(chain(self.window, rows), gone), repeat(-1.0))
            self.newest.add(rows)
        self.window.extend(rows)

    def _fade(self, rows: Sequence[ScoredPrediction]) -> None:
        """Each label weighs more than the one before it, which is as if all before it faded."""
        if self.weight > HEAVIEST:
            self.fading.scale(1 / self.weight)
            self.weight = 1.0
        weights = []
        for _ in rows:
            self.weight /= FADE
            weights.append(self.weight)
        self.fading.add(rows, weights)

    def shown(self) -> dict[str, Any]:
        """``{"accuracy", "count", …, "window": {…, "size", "classes"}, "fading": {…, "factor"}}``.

        The scores are those of :class:`ClassificationMetrics`, of a regression those of :class:`RegressionMetrics`. The window names the
        ``MOST_CLASSES`` classes with the most labels.
        """
        newest = (
            self.newest if isinstance(self.newest, ClassificationMetrics) else RegressionMetrics.of(list(self.window))
        )
        window: dict[str, Any] = {**newest.scores(), "count": len(self.window), "size": WINDOW}
        if isinstance(newest, ClassificationMetrics):
            window["classes"] = [
                {"class": self.names[number], **scores} for number, scores in newest.of_classes(MOST_CLASSES)
            ]
        fading = {**self.fading.scores(), "count": self.fading.count / self.weight, "factor": FADE}
        return {**self.all.scores(), "count": self.count, "window": window, "fading": fading}

    def data(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "all": self.all.data(),
            "fading": self.fading.data(),
            "weight": self.weight,
            "newest": self.newest.data(),
            "window": [list(row) for row in self.window],
        }

    def load(self, data: Mapping[str, Any]) -> None:
        data = copy.deepcopy(dict(data))
        self.names, self.weight = data["names"], data["weight"]
        self._numbers = {(type(name), name): number for number, name in enumerate(self.names)}
        for name in ("all", "fading", "newest"):
            getattr(self, name).load(data[name])
        self.window = deque((ScoredPrediction(*row) for row in data["window"]), maxlen=WINDOW)

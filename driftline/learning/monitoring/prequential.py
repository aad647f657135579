"""How good the served answers were: test-then-train (prequential) scores, of all labels and of the newest."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import chain, islice, repeat
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftline.learning.monitoring.label_metrics import LabelMetrics, ScoredLabels, scored_labels
from driftline.learning.monitoring.running_metrics import (
    ClassificationMetrics,
    RegressionMetrics,
    ScoredPrediction,
    surprise,
)
from driftline.learning.monitoring.value_metrics import ScoredValues, ValueMetrics
from driftline.learning.monitoring.window_tables import WindowTables
from driftline.learning.stateful import State, Stateful
from driftline.records import Item
from driftline.spec.classes import indices_of
from driftline.spec.task import LARGEST_VALUE
from driftline.spec.value_layout import ValueLayout

Scored: TypeAlias = Any
"""A scored label, of the kind that the task's metrics sum: :class:`ScoredPrediction`, :class:`ScoredLabels` or
:class:`ScoredValues`."""

MAX_CLASSES = 20
"""How many classes are told of by name."""
MAX_WEIGHT = 1e9


class Prequential(Stateful):
    """Scores of what was served (Gama et al. 2013): of all labels, of the newest, and of all as older ones fade.

    Args:
        size: how many of the newest labels are in the window.
        fade: what each label leaves of the weight of those before it.
        max_classes: how many classes the window names, those with the most labels.
        layout: how the numbers of a regression's answers stand; by default each is one value.
        several: the classes where a row may be of several, in the order of answers; None where it is of one.
    """

    STATE = ("names", "all", "fading", "weight", "newest", "window")
    DERIVED = ("is_regression", "layout", "size", "fade", "max_classes", "several", "tables", "_numbers")

    def __init__(
        self,
        is_regression: bool,
        *,
        size: int = 1000,
        fade: float = 0.999,
        max_classes: int = MAX_CLASSES,
        layout: ValueLayout | None = None,
        several: Sequence[int | str] | None = None,
    ) -> None:
        self.is_regression = is_regression
        self.layout = layout or ValueLayout()
        self.size, self.fade, self.max_classes = size, fade, max_classes
        self.several = several
        self.names: list[int | str] = list(several or ())
        self.all = self._tally()
        self.fading = self._tally()
        self.weight = 1.0
        self.newest = self._tally()
        self.window: deque[Scored] = deque(maxlen=size)
        self.tables = WindowTables() if self.has_one_class else None
        self._numbers = indices_of(self.names)

    def _tally(self) -> Any:
        if self.several is not None:
            return LabelMetrics(len(self.several))
        if not self.is_regression:
            return ClassificationMetrics()
        return RegressionMetrics() if self.layout.is_plain else ValueMetrics(self.layout)

    @property
    def has_one_class(self) -> bool:
        """Whether a label is one class."""
        return not self.is_regression and self.several is None

    @property
    def count(self) -> int:
        return int(self.all.count)

    def score(self, n: int, item: Item, index: int | None, unit: NDArray[np.float32] | None = None) -> Scored:
        """Compares what was served for an item with its label.

        Args:
            unit: of several outputs, what the error of each is divided by ``[outputs]``.
            index: where the label's class stands in the answer; None where that is not known, and for a regression.
        """
        assert item.answer is not None
        outputs = np.frombuffer(item.answer.outputs, "<f4")
        if self.is_regression:
            return self._score_values(n, item, outputs, unit)
        if self.several is not None:
            return scored_labels(n, [self._numbers[type(name), name] for name in item.label], outputs)  # type: ignore[union-attr]
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

    def _score_values(
        self, n: int, item: Item, outputs: NDArray[np.float32], unit: NDArray[np.float32] | None
    ) -> Scored:
        numbers: list[float] = outputs.tolist()
        truth: list[float] = (
            [float(label) for label in item.label] if isinstance(item.label, list) else [float(item.label)]
        )
        values = [value if math.isfinite(value) else LARGEST_VALUE for value in numbers[: self.layout.outputs]]
        errors = [abs(value - label) for value, label in zip(values, truth, strict=True)]
        if self.layout.is_plain:
            return ScoredPrediction(n, truth[0], values[0], errors[0])
        if unit is not None:
            errors = [error / size for error, size in zip(errors, unit.tolist(), strict=True)]
        return ScoredValues(n, truth, values, sum(errors) / len(errors), self.layout.ends(numbers))

    def _number(self, name: int | str) -> int:
        """Classes are numbered as they are seen: an edit may give the network's own order another meaning."""
        key = (type(name), name)
        if key not in self._numbers:
            self._numbers[key] = len(self.names)
            self.names.append(name)
        return self._numbers[key]

    def add(self, rows: Sequence[Scored]) -> None:
        """Takes labels in, in their order."""
        self.all.add(rows)
        self._fade(rows)
        if not self.is_regression:
            gone = max(0, len(self.window) + len(rows) - self.size)
            self.newest.add(islice(chain(self.window, rows), gone), repeat(-1.0))
            self.newest.add(rows)
        if self.tables is not None:
            self.tables.leave(islice(chain(self.window, rows), max(0, len(self.window) + len(rows) - self.size)))
            self.tables.enter(rows)
        self.window.extend(rows)

    def _fade(self, rows: Sequence[Scored]) -> None:
        """Each label weighs more than the one before it, which is as if all before it faded."""
        if self.weight > MAX_WEIGHT:
            self.fading.scale(1 / self.weight)
            self.weight = 1.0
        weights = []
        for _ in rows:
            self.weight /= self.fade
            weights.append(self.weight)
        self.fading.add(rows, weights)

    def shown(self) -> dict[str, Any]:
        """``{"accuracy", "count", …, "window": {…, "size", "classes", …}, "fading": {…, "factor"}}``.

        The scores are those of :class:`ClassificationMetrics`, of a multi-label model those of :class:`LabelMetrics`, of a
        regression those of :class:`RegressionMetrics`.
        """
        newest = self._newest()
        window: dict[str, Any] = {**newest.scores(), "count": len(self.window), "size": self.size}
        if not self.is_regression:
            classes = newest.of_classes(self.max_classes)
            window["classes"] = [{"class": self.names[number], **scores} for number, scores in classes]
            if self.tables is not None:
                window["confusion"] = self.tables.confusion(self.names, [number for number, _ in classes])
                window["calibration"] = self.tables.calibration()
        fading = {**self.fading.scores(), "count": self.fading.count / self.weight, "factor": self.fade}
        return {**self.all.scores(), "count": self.count, "window": window, "fading": fading}

    def _newest(self) -> Any:
        """The scores of the window. Sums of values would lose digits, were labels taken out of them again."""
        if not self.is_regression:
            return self.newest
        if isinstance(self.newest, RegressionMetrics):
            return RegressionMetrics.of(list(self.window))
        return ValueMetrics.of(self.layout, list(self.window))

    @property
    def _kind(self) -> Any:
        """What a label of the window is."""
        if self.several is not None:
            return ScoredLabels
        return ScoredValues if self.is_regression and not self.layout.is_plain else ScoredPrediction

    def restored(self, name: str, state: State) -> Any:
        if name == "window":
            return deque((self._kind(*row) for row in state.data[name]), maxlen=self.size)
        return super().restored(name, state)

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._numbers = indices_of(self.names)
        if self.tables is not None:
            self.tables = WindowTables()
            self.tables.enter(self.window)

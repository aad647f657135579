"""How good the served answers were: test-then-train (prequential) scores, of all labels and of the newest."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftline.learning.monitoring.label_metrics import LabelMetrics, ScoredLabels, scored_labels
from driftline.learning.monitoring.ranking import LEAST_LEVEL, MAX_RANKED, levels_of
from driftline.learning.monitoring.running_metrics import (
    ClassificationMetrics,
    RegressionMetrics,
    ScoredPrediction,
    brier_score,
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

FLOAT32 = np.dtype("<f4")
MAX_CLASSES = 20
"""How many classes are told of by name."""
MAX_WEIGHT = 1e9
MAX_TIMES = 10_000.0
"""A label fades those before it as so many would at most."""
Places: TypeAlias = Mapping[tuple[type, object], int]


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
    DERIVED = (
        *("is_regression", "layout", "size", "fade", "max_classes", "several"),
        *("tables", "_numbers", "_places", "_order"),
    )

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
        self._places: Places | None = None
        self._order: list[int] = []

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
        return round(float(self.all.count))

    @property
    def largest_share(self) -> float | None:
        """That of the most frequent class among the newest labels; None before the first, and where a label is no class."""
        counts = self.newest.support if self.has_one_class else []
        return float(max(counts) / sum(counts)) if sum(counts) > 0 else None

    def score(
        self, n: int, item: Item, places: Places | None = None, unit: NDArray[np.float32] | None = None
    ) -> Scored:
        """Compares what was served for an item with its label.

        Args:
            places: where each class, by type and name, stands in the answer; None where that is not known, and of values.
            unit: of several outputs, what the error of each is divided by ``[outputs]``.
        """
        assert item.answer is not None
        outputs = np.frombuffer(item.answer.outputs, FLOAT32)
        if self.is_regression:
            return self._score_values(n, item, outputs, unit)
        if self.several is not None:
            truths = [self._numbers[type(name), name] for name in item.label]  # type: ignore[union-attr]
            return scored_labels(n, truths, outputs)._replace(weight=item.weight)
        return self._score_class(n, item, outputs, places)

    def _score_class(self, n: int, item: Item, outputs: NDArray[np.float32], places: Places | None) -> ScoredPrediction:
        assert item.answer is not None
        served, label = item.answer.label, item.label
        is_right = type(served) is type(label) and served == label
        if places is not None and len(places) <= MAX_RANKED:
            self._number_all(places)
        truth = self._number(label)  # type: ignore[arg-type]
        answer = -1 if served is None else truth if is_right else self._number(served)
        scored = ScoredPrediction(n, truth, answer, float(not is_right), None, 0.0, item.weight)
        if not len(outputs):
            return scored
        if places is None:
            confidence = min(1.0, max(0.0, float(outputs.max())))
            likelihood = confidence if is_right else (1 - confidence) / max(1, len(outputs) - 1)
            return scored._replace(loss=surprise(likelihood), confidence=confidence)
        if not np.isfinite(outputs).all():
            outputs = np.nan_to_num(outputs, posinf=1.0, neginf=0.0)
        chances: list[float] = outputs.tolist()
        own = places.get((type(served), served), len(chances))
        confidence = min(1.0, max(0.0, chances[own])) if own < len(chances) else 0.0
        place = places[type(label), label]
        if place >= len(chances):
            return scored._replace(confidence=confidence, levels=self._levels(chances))
        found = surprise(chances[place]), brier_score(chances, place)
        return scored._replace(loss=found[0], confidence=confidence, brier=found[1], levels=self._levels(chances))

    def _number_all(self, places: Places) -> None:
        """Numbers the classes of answers in their order, once."""
        if places is not self._places:
            self._places = places
            ordered = sorted(places, key=lambda key: places[key])
            self._order = [-1] * len(self.names)
            for key in ordered:
                number = self._number(key[1])  # type: ignore[arg-type]
                self._order += [-1] * (number + 1 - len(self._order))
                self._order[number] = places[key]

    def _levels(self, chances: Sequence[float]) -> Sequence[int]:
        """The levels of the probabilities by the numbers of their classes; that of one that is not answered is the least."""
        if len(self.names) > MAX_RANKED:
            return ()
        # A class may have been numbered since the order was made, by a label or an answer of former times.
        order = self._order + [-1] * (len(self.names) - len(self._order))
        levels = [*levels_of(chances), LEAST_LEVEL]
        return [levels[place if place < len(chances) else -1] for place in order]

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
            return ScoredPrediction(n, truth[0], values[0], errors[0], weight=item.weight)
        if unit is not None:
            errors = [error / size for error, size in zip(errors, unit.tolist(), strict=True)]
        return ScoredValues(n, truth, values, sum(errors) / len(errors), self.layout.ends(numbers), item.weight)

    def _number(self, name: int | str) -> int:
        """Classes are numbered as they are seen: an edit may give the network's own order another meaning."""
        key = (type(name), name)
        if key not in self._numbers:
            self._numbers[key] = len(self.names)
            self.names.append(name)
        return self._numbers[key]

    def add(self, rows: Sequence[Scored]) -> None:
        """Takes labels in, in their order."""
        weights = [row.weight for row in rows]
        self.all.add(rows, weights)
        self._fade(rows)
        if not self.is_regression:
            gone = list(islice(chain(self.window, rows), max(0, len(self.window) + len(rows) - self.size)))
            self.newest.add(gone, [-row.weight for row in gone])
            self.newest.add(rows, weights)
            if self.tables is not None:
                self.tables.leave(gone)
                self.tables.enter(rows)
        self.window.extend(rows)

    def revise(self, row: Scored, former: Scored) -> None:
        """Lets ``row`` take the place of the score ``former`` of the same record.

        Where the record has left the window, the fading scores keep what has faded of it.
        """
        place = next((place for place, known in enumerate(self.window) if known.n == row.n), None)
        if place is None and self.window and row.n > self.window[0].n:
            return  # It was never scored, as a label that was not learned.
        known = former if place is None else self.window[place]
        self.all.add([known, row], [-known.weight, row.weight])
        if place is None:
            return
        later = sum(min(each.weight, MAX_TIMES) for each in islice(self.window, place + 1, None))
        self.fading.add([known, row], [-self._faded(known.weight, later), self._faded(row.weight, later)])
        if not self.is_regression:
            self.newest.add([known, row], [-known.weight, row.weight])
            if self.tables is not None:
                self.tables.leave([known])
                self.tables.enter([row])
        self.window[place] = row

    def _faded(self, weight: float, later: float) -> float:
        """How much a label counts in the fading scores that as many as ``later`` have come after."""
        times = min(weight, MAX_TIMES)
        at: float = self.weight * self.fade**later
        return at if times == 1 else (at - at * self.fade**times) / (1 - self.fade)

    def _fade(self, rows: Sequence[Scored]) -> None:
        """Each label weighs more than the one before it, which is as if all before it faded; by as much as it counts itself."""
        if self.weight > MAX_WEIGHT:
            self.fading.scale(1 / self.weight)
            self.weight = 1.0
        weights = []
        for row in rows:
            # As if it had come so many times one after the other, each weighing more than the one before.
            before, times = self.weight, min(row.weight, MAX_TIMES)
            self.weight = before / self.fade**times
            weights.append(self.weight if times == 1 else (self.weight - before) / (1 - self.fade))
        self.fading.add(rows, weights)

    def shown(self) -> dict[str, Any]:
        """``{"accuracy", "count", …, "window": {…, "size", "classes", …}, "fading": {…, "factor"}}``.

        The scores are those of :class:`ClassificationMetrics`, of a multi-label model those of :class:`LabelMetrics`, of a
        regression those of :class:`RegressionMetrics`.
        """
        newest = self._newest()
        window: dict[str, Any] = {**newest.scores(), "count": _whole(newest.count), "size": self.size}
        if not self.is_regression:
            classes = newest.of_classes(self.max_classes)
            window["classes"] = [{"class": self.names[number], **scores} for number, scores in classes]
            if self.tables is not None:
                window["confusion"] = self.tables.confusion(self.names, [number for number, _ in classes])
                window["calibration"] = self.tables.calibration()
        fading = {**self.fading.scores(), "count": self.fading.count / self.weight, "factor": self.fade}
        return {**self.all.scores(), "count": _whole(self.all.count), "window": window, "fading": fading}

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
        self._places = None
        if self.tables is not None:
            self.tables = WindowTables()
            self.tables.enter(self.window)


def _whole(count: float) -> float:
    """A count of labels: a whole number where all of them count as such."""
    return round(count) if count == round(count) else count

"""How good the served answers were: test-then-train (prequential) scores, of all labels and of the newest."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, ClassVar

from driftline.learning.monitoring.label_metrics import LabelMetrics
from driftline.learning.monitoring.running_metrics import ClassificationMetrics, RegressionMetrics
from driftline.learning.monitoring.scoring import Scored, ServedScores
from driftline.learning.monitoring.value_metrics import ValueMetrics
from driftline.learning.monitoring.window_tables import WindowTables
from driftline.learning.stateful import State
from driftline.spec.value_layout import ValueLayout

MAX_CLASSES = 20
"""How many classes are told of by name."""
MAX_WEIGHT = 1e9
MAX_TIMES = 10_000.0
"""A label fades those before it as so many would at most."""


class Prequential(ServedScores):
    """Scores of what was served (Gama et al. 2013): of all labels, of the newest, and of all as older ones fade.

    Args:
        size: how many of the newest labels are in the window.
        fade: what each label leaves of the weight of those before it.
        max_classes: how many classes the window names, those with the most labels.

    The others are those of :class:`ServedScores`.
    """

    STATE: ClassVar[tuple[str, ...]] = ("all", "fading", "weight", "newest", "window")
    DERIVED: ClassVar[tuple[str, ...]] = ("size", "fade", "max_classes", "tables")

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
        super().__init__(is_regression, layout, several)
        self.size, self.fade, self.max_classes = size, fade, max_classes
        self.all = self._tally()
        self.fading = self._tally()
        self.weight = 1.0
        self.newest = self._tally()
        self.window: deque[Scored] = deque(maxlen=size)
        self.tables = WindowTables() if self.has_one_class else None

    def _tally(self) -> Any:
        if self.several is not None:
            return LabelMetrics(len(self.several))
        if not self.is_regression:
            return ClassificationMetrics()
        return RegressionMetrics() if self.layout.is_plain else ValueMetrics(self.layout)

    @property
    def count(self) -> int:
        return round(float(self.all.count))

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

    def restored(self, name: str, state: State) -> Any:
        if name == "window":
            return deque((self.scored_kind(*row) for row in state.data[name]), maxlen=self.size)
        return super().restored(name, state)

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        if self.tables is not None:
            self.tables = WindowTables()
            self.tables.enter(self.window)


def _whole(count: float) -> float:
    """A count of labels: a whole number where all of them count as such."""
    return round(count) if count == round(count) else count

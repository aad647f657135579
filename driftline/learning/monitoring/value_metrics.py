"""Sums from which the scores of a regression with intervals, or with several outputs, follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftline.learning.monitoring.running_metrics import RegressionMetrics, ScoredPrediction, total
from driftline.learning.stateful import State, Stateful
from driftline.spec.value_layout import ValueLayout

Floats: TypeAlias = NDArray[np.float64]


class ScoredValues(NamedTuple):
    """What was served for one label, by output: the true value, the answer, and the ends of its interval, if it had one.

    ``n`` is the label's log number; ``error`` is one number for all outputs; ``weight`` how much it counts.
    """

    n: int
    truth: Sequence[float]
    answer: Sequence[float]
    error: float
    ends: Sequence[Sequence[float]] = ()
    weight: float = 1.0

    def of_output(self, place: int) -> ScoredPrediction:
        """The value of one output."""
        truth, answer = self.truth[place], self.answer[place]
        return ScoredPrediction(self.n, truth, answer, abs(answer - truth))


class IntervalMetrics(Stateful):
    """Scores of prediction intervals, whose ends have these ``levels``."""

    STATE = ("count", "covered", "width", "pinball")
    DERIVED = ("levels",)

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = levels
        self.count = self.covered = self.width = self.pinball = 0.0

    def add(self, truth: float, ends: Sequence[float], weight: float = 1.0) -> None:
        """Takes a label and the ends that were served for it in."""
        # As precise as the ends are: those of a label that never changes both stand at it.
        truth = float(np.float32(truth))
        self.count += weight
        self.covered += weight * (ends[0] <= truth <= ends[-1])
        self.width += weight * (ends[-1] - ends[0])
        self.pinball += weight * pinball_loss(self.levels, ends, truth)

    def add_arrays(self, truth: Floats, ends: Floats, weights: Floats) -> None:
        """Takes labels ``[rows]`` in, with the ends that were served ``[rows, levels]`` and how much each counts ``[rows]``."""
        truth = truth.astype(np.float32).astype(np.float64)
        self.count += total(weights)
        self.covered += total(weights * ((ends[:, 0] <= truth) & (truth <= ends[:, -1])))
        self.width += total(weights * (ends[:, -1] - ends[:, 0]))
        beyond, levels = truth[:, None] - ends, np.array(self.levels)
        self.pinball += total(weights * np.maximum(levels * beyond, (levels - 1) * beyond).mean(1))

    def scale(self, factor: float) -> None:
        """Lets every label weigh ``factor`` times what it did."""
        for name in self.STATE:
            setattr(self, name, getattr(self, name) * factor)

    def scores(self) -> dict[str, float]:
        """``coverage``, the share of labels between the first end and the last; ``width``, how far these are apart on average;
        and ``pinball_loss``, the mean over the ends.
        """
        if self.count <= 0:
            return {}
        found = {"coverage": self.covered, "width": self.width, "pinball_loss": self.pinball}
        return {name: value / self.count for name, value in found.items()}


class ValueMetrics(Stateful):
    """Scores of each output, and of its intervals; ``error`` is the sum of what is one number for all outputs."""

    STATE = ("count", "error", "values", "intervals")
    DERIVED = ("layout",)

    def __init__(self, layout: ValueLayout) -> None:
        self.layout = layout
        self.count = self.error = 0.0
        self.values = [RegressionMetrics() for _ in range(layout.outputs)]
        self.intervals = [IntervalMetrics(layout.levels) for _ in range(layout.outputs)]

    @classmethod
    def of(cls, layout: ValueLayout, rows: Sequence[ScoredValues]) -> ValueMetrics:
        """The scores of some rows."""
        found = cls(layout)
        weights = np.array([row.weight for row in rows], np.float64)
        found.count, found.error = total(weights), sum(row.weight * row.error for row in rows)
        if rows:
            truth, answers = (
                np.array(each, np.float64).T for each in zip(*((r.truth, r.answer) for r in rows), strict=True)
            )
            found.values = [RegressionMetrics.of_arrays(*each, weights) for each in zip(truth, answers, strict=True)]
        ends = [row for row in rows if row.ends]
        if ends:
            truth, sides = np.array([row.truth for row in ends]).T, np.array([row.ends for row in ends]).swapaxes(0, 1)
            weights = np.array([row.weight for row in ends], np.float64)
            for intervals, truths, own in zip(found.intervals, truth, sides, strict=True):
                intervals.add_arrays(truths, own, weights)
        return found

    def add(self, rows: Iterable[ScoredValues], weights: Iterable[float] = repeat(1.0)) -> None:
        """Takes labels in, each with its weight."""
        for row, weight in zip(rows, weights, strict=False):
            self.count += weight
            self.error += weight * row.error
            for place, values in enumerate(self.values):
                values.add([row.of_output(place)], [weight])
            for intervals, truth, ends in zip(self.intervals, row.truth, row.ends, strict=False):
                intervals.add(truth, ends, weight)

    def scale(self, factor: float) -> None:
        """Lets every label weigh ``factor`` times what it did."""
        self.count, self.error = self.count * factor, self.error * factor
        for values, intervals in zip(self.values, self.intervals, strict=True):
            values.scale(factor)
            intervals.scale(factor)

    def scores(self) -> dict[str, Any]:
        """The scores of the values and the intervals. Of several outputs they are ``outputs``, by name; beside them stand
        ``normalized_mae``, the mean of the errors in which no output's unit decides, and the mean ``coverage``.
        """
        if self.count <= 0:
            return {}
        parts = zip(self.values, self.intervals, strict=True)
        found = [{**values.scores(), **intervals.scores()} for values, intervals in parts]
        if not self.layout.has_several:
            return found[0]
        coverage = [each["coverage"] for each in found if "coverage" in each]
        return {
            "normalized_mae": self.error / self.count,
            **({"coverage": sum(coverage) / len(coverage)} if coverage else {}),
            "outputs": dict(zip(self.layout.labels, found, strict=True)),
        }

    def packed(self, name: str) -> Any:
        value = getattr(self, name)
        return [each.state_dict().data for each in value] if isinstance(value, list) else value

    def restored(self, name: str, state: State) -> Any:
        now = getattr(self, name)
        if not isinstance(now, list):
            return state.data[name]
        for each, data in zip(now, state.data[name], strict=True):
            each.load_state_dict(State({}, data))
        return now


def pinball_loss(levels: Iterable[float], ends: Iterable[float], truth: float) -> float:
    """The mean over the ends of ``max(q · (t - y), (q - 1) · (t - y))`` (Koenker & Bassett 1978)."""
    losses = [max(level * (truth - end), (level - 1) * (truth - end)) for level, end in zip(levels, ends, strict=True)]
    return sum(losses) / len(losses)

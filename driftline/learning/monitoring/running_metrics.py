"""Sums from which scores follow, so that a label costs microseconds however many there were before it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftline.learning.monitoring.ranking import MAX_RANKED, RankingHistogram
from driftline.learning.stateful import State, Stateful

BINS = 10
FEW = 8
"""Up to here numpy adds one number after the other as Python does, and takes longer to begin."""
MIN_LIKELIHOOD = 1e-7
"""No label is taken to have been less likely: one answer that was sure and wrong would else be all of a log-loss."""


class ScoredPrediction(NamedTuple):
    """What was served for one label. A classification counts its classes; ``answer`` is −1 while there was none.

    ``n`` is the label's log number, ``weight`` how much it counts. ``loss`` is −log of the probability that the label was
    given, None where its class could not be known; ``confidence`` is the probability of the answer. ``brier`` is the squared
    distance of all probabilities from the label (Brier 1950), and ``levels`` are theirs, by class
    (:func:`driftline.learning.monitoring.ranking.levels_of`), where that is known.
    """

    n: int
    truth: float
    answer: float
    error: float
    loss: float | None = 0.0
    confidence: float = 0.0
    weight: float = 1.0
    brier: float | None = None
    levels: Sequence[int] = ()


def surprise(likelihood: float) -> float:
    """−log of the probability that was given to a label."""
    return -math.log(max(MIN_LIKELIHOOD, likelihood))


def total(numbers: NDArray[Any]) -> float:
    """The sum, whose last bit does not depend on the CPU, as that of a BLAS's product does."""
    return float(numbers.sum())


def brier_score(probabilities: Sequence[float], place: int) -> float:
    """The squared distance of probabilities ``[classes]`` from those of a label at ``place``: 0 to 2."""
    if len(probabilities) < FEW:
        squares = sum(chance * chance for chance in probabilities)
    else:
        squares = total(np.array(probabilities) ** 2)
    return squares - 2 * probabilities[place] + 1


def agreement(
    accuracy: float, count: float, support: NDArray[Any], answered: NDArray[Any], right: NDArray[Any]
) -> dict[str, float]:
    """``accuracy``; ``balanced_accuracy``, the mean recall of the classes; ``macro_f1``, the mean F1 of the classes in a label
    or an answer; ``kappa`` (Cohen 1960), 0 for chance.

    Args:
        count: of all labels; ``support``, ``answered`` and ``right`` ``[classes]`` are those of each class.
    """
    is_there = support > 0
    chance = float(support @ answered) / count**2
    both = support + answered
    is_told = both > 0
    return {
        "accuracy": accuracy,
        "balanced_accuracy": float((right[is_there] / support[is_there]).mean()),
        "macro_f1": float((2 * right[is_told] / both[is_told]).mean()),
        "kappa": (accuracy - chance) / (1 - chance) if chance < 1 else 0.0,
    }


class ClassificationMetrics(Stateful):
    """Scores of a classification; a label weighs 1, or more than those before it, or −1 to take it out again.

    ``told`` is the weight of the labels that have a loss, ``distributed`` that of those with a Brier score.
    """

    STATE = (
        "count",
        "wrong",
        "loss",
        "told",
        "brier",
        "distributed",
        "support",
        "answered",
        "right",
        "bins",
        "ranking",
    )

    def __init__(self) -> None:
        self.count = self.wrong = self.loss = self.told = self.brier = self.distributed = 0.0
        self.support: list[float] = []
        self.answered: list[float] = []
        self.right: list[float] = []
        self.bins: list[list[float]] = [[0.0, 0.0] for _ in range(BINS)]
        self.ranking = RankingHistogram()

    def add(self, rows: Iterable[ScoredPrediction], weights: Iterable[float] = repeat(1.0)) -> None:
        """Takes labels in, each with its weight. (All at once, since what a sum costs is finding it.)"""
        count, wrong = self.count, self.wrong
        support, answered, right, bins = self.support, self.answered, self.right, self.bins
        for (_, truth, answer, error, loss, confidence, _, brier, levels), weight in zip(rows, weights, strict=False):
            count += weight
            wrong += weight * error
            if loss is not None:
                self.loss += weight * loss
                self.told += weight
            if brier is not None:
                self.brier += weight * brier
                self.distributed += weight
            truth, answer = int(truth), int(answer)
            if truth >= len(support) or answer >= len(support):
                self._make_room(max(truth, answer) + 1)
            support[truth] += weight
            if answer >= 0:
                answered[answer] += weight
            share = bins[min(BINS - 1, int(BINS * confidence))]
            share[0] += weight * confidence
            if not error:
                right[truth] += weight
                share[1] += weight
            self.ranking.add(truth, levels, weight)
        self.count, self.wrong = count, wrong

    def _make_room(self, size: int) -> None:
        for counts in (self.support, self.answered, self.right):
            counts.extend([0.0] * (size - len(counts)))

    def scale(self, factor: float) -> None:
        """Lets every label weigh ``factor`` times what it did."""
        for name in ("count", "wrong", "loss", "told", "brier", "distributed"):
            setattr(self, name, getattr(self, name) * factor)
        self.ranking.scale(factor)
        for counts in (self.support, self.answered, self.right, *self.bins):
            counts[:] = [value * factor for value in counts]

    def scores(self) -> dict[str, float]:
        """What :func:`agreement` gives; ``log_loss``, of the labels whose class could be known; ``brier``;
        ``calibration_error``, the expected one over ten bins of confidence (Guo et al. 2017); and of up to ``MAX_RANKED``
        classes what :class:`~driftline.learning.monitoring.ranking.RankingHistogram` gives.
        """
        if self.count <= 0:
            return {}
        counts = [np.array(values) for values in (self.support, self.answered, self.right)]
        return {
            **agreement(1 - self.wrong / self.count, self.count, *counts),
            **({"log_loss": max(0.0, self.loss / self.told)} if self.told > 0 else {}),
            **({"brier": max(0.0, self.brier / self.distributed)} if self.distributed > 0 else {}),
            "calibration_error": sum(abs(confident - right) for confident, right in self.bins) / self.count,
            **(self.ranking.scores() if len(self.support) <= MAX_RANKED else {}),
        }

    def restored(self, name: str, state: State) -> Any:
        # Former releases counted every label in the loss, and had neither Brier score nor ranking.
        if name == "told" and name not in state.data:
            return state.data["count"]
        if name in ("brier", "distributed", "ranking") and name not in state.data:
            return getattr(self, name)
        return super().restored(name, state)

    def of_classes(self, most: int) -> list[tuple[int, dict[str, float | None]]]:
        """The ``most`` classes with the most labels: ``support``, ``recall``, and ``precision``, None where never answered."""
        support = np.array(self.support)
        largest = np.argsort(-support, kind="stable")[:most]
        return [
            (
                number,
                {
                    "support": self.support[number],
                    "recall": self.right[number] / self.support[number],
                    "precision": self.right[number] / self.answered[number] if self.answered[number] else None,
                },
            )
            for number in largest.tolist()
            if self.support[number] > 0
        ]


class RegressionMetrics(Stateful):
    """Scores of a regression. Labels are summed as differences from the first, so that a large mean costs no digits."""

    STATE = ("origin", "count", "absolute", "squares", "bias", "truth", "truth_squares")

    def __init__(self) -> None:
        self.origin: float | None = None
        self.count = self.absolute = self.squares = self.bias = self.truth = self.truth_squares = 0.0

    def add(self, rows: Iterable[ScoredPrediction], weights: Iterable[float] = repeat(1.0)) -> None:
        """Takes labels in, each with its weight."""
        for row, weight in zip(rows, weights, strict=False):
            if self.origin is None:
                self.origin = row.truth
            truth = row.truth - self.origin
            self.count += weight
            self.absolute += weight * row.error
            self.squares += weight * row.error**2
            self.bias += weight * (row.answer - row.truth)
            self.truth += weight * truth
            self.truth_squares += weight * truth**2

    def scale(self, factor: float) -> None:
        """Lets every label weigh ``factor`` times what it did."""
        for name in ("count", "absolute", "squares", "bias", "truth", "truth_squares"):
            setattr(self, name, getattr(self, name) * factor)

    def scores(self) -> dict[str, float]:
        """``mae``, ``rmse``, ``bias`` (answers above labels are positive), and ``r2`` where the labels differ."""
        if self.count <= 0:
            return {}
        scores = {
            "mae": self.absolute / self.count,
            "rmse": math.sqrt(self.squares / self.count),
            "bias": self.bias / self.count,
        }
        spread = self.truth_squares - self.truth**2 / self.count
        return {**scores, "r2": 1 - self.squares / spread} if spread > 0 else scores

    @classmethod
    def of(cls, rows: Sequence[ScoredPrediction]) -> RegressionMetrics:
        """The tally of some rows."""
        columns = ([row.truth for row in rows], [row.answer for row in rows], [row.weight for row in rows])
        return cls.of_arrays(*(np.array(column, np.float64) for column in columns))

    @classmethod
    def of_arrays(
        cls, truth: NDArray[np.float64], answers: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> RegressionMetrics:
        """The tally of labels and answers, and how much each counts, all ``[rows]``."""
        tally = cls()
        if len(truth):
            difference, from_first = answers - truth, truth - truth[0]
            tally.origin, tally.count = float(truth[0]), total(weights)
            tally.absolute, tally.squares = total(weights * np.abs(difference)), total(weights * difference**2)
            tally.bias = total(weights * difference)
            tally.truth, tally.truth_squares = total(weights * from_first), total(weights * from_first**2)
        return tally

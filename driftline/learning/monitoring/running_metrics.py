"""Sums from which scores follow, so that a label costs microseconds however many there were before it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftline.learning.stateful import Stateful

BINS = 10
MIN_LIKELIHOOD = 1e-7
"""No label is taken to have been less likely: one answer that was sure and wrong would else be all of a log-loss."""


class ScoredPrediction(NamedTuple):
    """What was served for one label. A classification counts its classes; ``answer`` is −1 while there was none.

    ``n`` is the label's log number. ``loss`` is −log of the probability that the label was given, ``confidence`` the highest.
    """

    n: int
    truth: float
    answer: float
    error: float
    loss: float = 0.0
    confidence: float = 0.0


def surprise(likelihood: float) -> float:
    """−log of the probability that was given to a label."""
    return -math.log(max(MIN_LIKELIHOOD, likelihood))


def agreement(
    accuracy: float, count: float, support: NDArray[Any], answered: NDArray[Any], right: NDArray[Any]
) -> dict[str, float]:
    """``accuracy``; ``balanced_accuracy``, the mean recall of the classes; ``kappa`` (Cohen 1960), 0 for chance.

    Args:
        count: of all labels; ``support``, ``answered`` and ``right`` ``[classes]`` are those of each class.
    """
    is_there = support > 0
    chance = float(support @ answered) / count**2
    return {
        "accuracy": accuracy,
        "balanced_accuracy": float((right[is_there] / support[is_there]).mean()),
        "kappa": (accuracy - chance) / (1 - chance) if chance < 1 else 0.0,
    }


class ClassificationMetrics(Stateful):
    """Scores of a classification; a label weighs 1, or more than those before it, or −1 to take it out again."""

    STATE = ("count", "wrong", "loss", "support", "answered", "right", "bins")

    def __init__(self) -> None:
        self.count = self.wrong = self.loss = 0.0
        self.support: list[float] = []
        self.answered: list[float] = []
        self.right: list[float] = []
        self.bins: list[list[float]] = [[0.0, 0.0] for _ in range(BINS)]

    def add(self, rows: Iterable[ScoredPrediction], weights: Iterable[float] = repeat(1.0)) -> None:
        """Takes labels in, each with its weight. (All at once, since what a sum costs is finding it.)"""
        count, wrong, surprises = self.count, self.wrong, self.loss
        support, answered, right, bins = self.support, self.answered, self.right, self.bins
        for (_, truth, answer, error, loss, confidence), weight in zip(rows, weights, strict=False):
            count += weight
            wrong += weight * error
            surprises += weight * loss
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
        self.count, self.wrong, self.loss = count, wrong, surprises

    def _make_room(self, size: int) -> None:
        for counts in (self.support, self.answered, self.right):
            counts.extend([0.0] * (size - len(counts)))

    def scale(self, factor: float) -> None:
        """Lets every label weigh ``factor`` times what it did."""
        self.count, self.wrong, self.loss = self.count * factor, self.wrong * factor, self.loss * factor
        for counts in (self.support, self.answered, self.right, *self.bins):
            counts[:] = [value * factor for value in counts]

    def scores(self) -> dict[str, float]:
        """What :func:`agreement` gives; ``log_loss``; ``calibration_error``, the expected one over ten bins of confidence
        (Guo et al. 2017).
        """
        if self.count <= 0:
            return {}
        counts = [np.array(values) for values in (self.support, self.answered, self.right)]
        return {
            **agreement(1 - self.wrong / self.count, self.count, *counts),
            "log_loss": max(0.0, self.loss / self.count),
            "calibration_error": sum(abs(confident - right) for confident, right in self.bins) / self.count,
        }

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
        return cls.of_arrays(np.array([row.truth for row in rows]), np.array([row.answer for row in rows]))

    @classmethod
    def of_arrays(cls, truth: NDArray[np.float64], answers: NDArray[np.float64]) -> RegressionMetrics:
        """The tally of labels and answers ``[rows]``."""
        tally = cls()
        if len(truth):
            difference = answers - truth
            tally.origin, tally.count = float(truth[0]), float(len(truth))
            tally.absolute, tally.squares = float(np.abs(difference).sum()), float((difference**2).sum())
            tally.bias = float(difference.sum())
            tally.truth, tally.truth_squares = (
                float((truth - truth[0]).sum()),
                float(((truth - truth[0]) ** 2).sum()),
            )
        return tally

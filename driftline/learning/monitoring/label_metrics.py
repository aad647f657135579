"""Sums from which the scores follow where a row may be of several classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from driftline.learning.monitoring.stream_metrics import label_log_losses
from driftline.learning.stateful import Stateful
from driftline.spec.label_set import THRESHOLD


class ScoredLabels(NamedTuple):
    """What was served for one label: the places of the classes that it has, and of those that were answered, rising.

    ``n`` is the label's log number; ``error`` the Hamming loss, the share of the classes that the answer was wrong about;
    ``loss`` the mean binary cross-entropy of the classes; ``weight`` how much it counts.
    """

    n: int
    truth: Sequence[int]
    answer: Sequence[int]
    error: float
    loss: float
    weight: float = 1.0


def scored_labels(n: int, truth: Sequence[int], probabilities: NDArray[np.float32]) -> ScoredLabels:
    """Compares probabilities ``[classes]`` with the places of a label's classes; a probability that is no number is wrong."""
    wanted = np.zeros(len(probabilities), bool)
    wanted[list(truth)] = True
    given = probabilities >= THRESHOLD
    is_wrong = (given != wanted) | bool(np.isnan(probabilities).any())
    losses = label_log_losses(np.nan_to_num(probabilities)[None], wanted[None])
    answer = np.flatnonzero(given).tolist()
    return ScoredLabels(n, sorted(truth), answer, float(is_wrong.mean()), float(losses[0]))


def f1(right: float, support: float, answered: float) -> float:
    """The harmonic mean of precision and recall; 1 where there was nothing to find, and nothing was answered."""
    return 2 * right / (support + answered) if support + answered > 0 else 1.0


class LabelMetrics(Stateful):
    """Scores of so many classes; a label weighs 1, or more than those before it, or −1 to take it out again."""

    STATE = ("count", "wrong", "exact", "loss", "support", "answered", "right")

    def __init__(self, classes: int) -> None:
        self.count = self.wrong = self.exact = self.loss = 0.0
        self.support = [0.0] * classes
        self.answered = [0.0] * classes
        self.right = [0.0] * classes

    def add(self, rows: Iterable[ScoredLabels], weights: Iterable[float] = repeat(1.0)) -> None:
        """Takes labels in, each with its weight."""
        for row, weight in zip(rows, weights, strict=False):
            self.count += weight
            self.wrong += weight * row.error
            self.exact += weight * (row.error == 0)
            self.loss += weight * row.loss
            for place in row.truth:
                self.support[place] += weight
            for place in row.answer:
                self.answered[place] += weight
                if place in row.truth:
                    self.right[place] += weight

    def scale(self, factor: float) -> None:
        """Lets every label weigh ``factor`` times what it did."""
        for name in ("count", "wrong", "exact", "loss"):
            setattr(self, name, getattr(self, name) * factor)
        for counts in (self.support, self.answered, self.right):
            counts[:] = [value * factor for value in counts]

    def scores(self) -> dict[str, float]:
        """``hamming_loss``, ``subset_accuracy`` (the share of rows of which every class is right), ``micro_f1`` (of all classes
        together), ``macro_f1`` (the mean over the classes that are in a label or an answer), and ``log_loss``.
        """
        if self.count <= 0:
            return {}
        return {
            "hamming_loss": max(0.0, self.wrong / self.count),
            "subset_accuracy": self.exact / self.count,
            "micro_f1": f1(sum(self.right), sum(self.support), sum(self.answered)),
            "macro_f1": self._macro_f1(),
            "log_loss": max(0.0, self.loss / self.count),
        }

    def _macro_f1(self) -> float:
        right, both = np.array(self.right), np.array(self.support) + np.array(self.answered)
        is_there = both > 0
        return float((2 * right[is_there] / both[is_there]).mean()) if is_there.any() else 1.0

    def of_classes(self, most: int) -> list[tuple[int, dict[str, float | None]]]:
        """The ``most`` classes with the most labels: ``support``, ``recall``, ``f1``, and ``precision``, None where never
        answered.
        """
        largest = np.argsort(-np.array(self.support), kind="stable")[:most]
        return [(place, self._of_class(place)) for place in largest.tolist() if self.support[place] > 0]

    def _of_class(self, place: int) -> dict[str, float | None]:
        support, answered, right = self.support[place], self.answered[place], self.right[place]
        return {
            "support": support,
            "recall": right / support,
            "precision": right / answered if answered else None,
            "f1": f1(right, support, answered),
        }

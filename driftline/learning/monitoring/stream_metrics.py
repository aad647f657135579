"""How good the answers to a whole stream were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftline.learning.monitoring.running_metrics import MIN_LIKELIHOOD, agreement
from driftline.records import Label


def of_classes(labels: Sequence[Label], answers: Sequence[Label | None]) -> dict[str, float]:
    """What :func:`driftline.learning.monitoring.running_metrics.agreement` gives.

    An answer of None, as before any class was known, is wrong.
    """
    numbers = {label: number for number, label in enumerate(dict.fromkeys([*labels, *answers]))}
    truth = np.array([numbers[label] for label in labels])
    answered = np.array([numbers[answer] for answer in answers])
    is_right = truth == answered
    counts = np.bincount(truth, minlength=len(numbers))
    given = np.bincount(answered, minlength=len(numbers))
    right = np.bincount(truth, is_right, minlength=len(numbers))
    return agreement(float(is_right.mean()), len(truth), counts, given, right)


def log_loss(likelihoods: Sequence[float]) -> float:
    """The mean of −log of the probabilities that were given to the labels; none counts as less than 1e-7."""
    return float(-np.log(np.maximum(likelihoods, MIN_LIKELIHOOD)).mean())


def of_values(labels: Sequence[Label], values: Sequence[Label | None]) -> dict[str, float]:
    """``mae`` and ``rmse`` of a regression."""
    errors = value_errors(labels, values)
    return {"mae": float(errors.mean()), "rmse": float(np.sqrt((errors**2).mean()))}


def value_errors(labels: Sequence[Label], values: Sequence[Label | None]) -> NDArray[np.float64]:
    """The absolute errors ``[rows]``."""
    return np.abs(np.asarray(values, np.float64) - np.asarray(labels, np.float64))

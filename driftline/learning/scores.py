"""How good the answers to a whole stream were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from driftline.records import Label

LEAST_LIKELY = 1e-7


def of_classes(labels: Sequence[Label], answers: Sequence[Label | None]) -> dict[str, float]:
    """``accuracy``; ``balanced_accuracy``, the mean recall of the classes; ``kappa`` (Cohen 1960), 0 for chance.

    An answer of None, as before any class was known, is wrong.
    """
    numbers = {label: number for number, label in enumerate(dict.fromkeys([*labels, *answers]))}
    truth = np.array([numbers[label] for label in labels])
    answered = np.array([numbers[answer] for answer in answers])
    is_right = truth == answered
    counts = np.bincount(truth, minlength=len(numbers))
    right = np.bincount(truth, is_right, minlength=len(numbers))
    chance = float(counts @ np.bincount(answered, minlength=len(numbers))) / len(truth) ** 2
    accuracy = float(is_right.mean())
    return {
        "accuracy": accuracy,
        "balanced_accuracy": float((right[counts > 0] / counts[counts > 0]).mean()),
        "kappa": (accuracy - chance) / (1 - chance) if chance < 1 else 0.0,
    }


def log_loss(likelihoods: Sequence[float]) -> float:
    """The mean of −log of the probabilities that were given to the labels; none counts as less than 1e-7."""
    return float(-np.log(np.maximum(likelihoods, LEAST_LIKELY)).mean())


def of_values(labels: Sequence[Label], values: Sequence[Label | None]) -> dict[str, float]:
    """``mae`` and ``rmse`` of a regression."""
    errors = value_errors(labels, values)
    return {"mae": float(errors.mean()), "rmse": float(np.sqrt((errors**2).mean()))}


def value_errors(labels: Sequence[Label], values: Sequence[Label | None]) -> NDArray[np.float64]:
    """The absolute errors ``[rows]``."""
    return np.abs(np.asarray(values, np.float64) - np.asarray(labels, np.float64))

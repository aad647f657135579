"""How good the answers to a whole stream were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftline.learning.monitoring.running_metrics import MIN_LIKELIHOOD, agreement
from driftline.records import Label

Weights: TypeAlias = NDArray[np.float64]
"""How much each row counts ``[rows]``: one of 0 changes nothing, one of 2 is like two of them. None: each counts 1."""


def _counts(rows: int, weights: Weights | None) -> Weights:
    return np.ones(rows) if weights is None else weights


def of_classes(
    labels: Sequence[Label], answers: Sequence[Label | None], weights: Weights | None = None
) -> dict[str, float]:
    """What :func:`driftline.learning.monitoring.running_metrics.agreement` gives.

    An answer of None, as before any class was known, is wrong.
    """
    weights = _counts(len(labels), weights)
    numbers = {label: number for number, label in enumerate(dict.fromkeys([*labels, *answers]))}
    truth = np.array([numbers[label] for label in labels])
    answered = np.array([numbers[answer] for answer in answers])
    is_right = truth == answered
    counts = np.bincount(truth, weights, minlength=len(numbers))
    given = np.bincount(answered, weights, minlength=len(numbers))
    right = np.bincount(truth, weights * is_right, minlength=len(numbers))
    total = float(weights.sum())
    return agreement(float(weights @ is_right) / total, total, counts, given, right)


def recalls(
    labels: Sequence[Label], answers: Sequence[Label | None], weights: Weights | None = None
) -> dict[str, float]:
    """The share of the rows of each class that was answered rightly."""
    weights = _counts(len(labels), weights)
    counts: dict[Label, float] = {}
    right: dict[Label, float] = {}
    for label, answer, weight in zip(labels, answers, weights.tolist(), strict=True):
        counts[label] = counts.get(label, 0.0) + weight
        right[label] = right.get(label, 0.0) + weight * (label == answer)
    return {str(label): right[label] / count for label, count in counts.items() if count > 0}


def rankings(
    truth: NDArray[np.int64], probabilities: NDArray[np.floating[Any]], weights: Weights | None = None
) -> dict[str, float]:
    """``auc`` (area under the ROC curve) and ``average_precision`` of probabilities ``[rows, classes]``.

    Of two classes that of the second; of more the mean over the classes, each against the rest. A class that is in no row,
    or in all, has none; nothing where that is so of every one.

    Args:
        truth: the places of the labels among the classes ``[rows]``.
    """
    weights = _counts(len(truth), weights)
    classes = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    found = []
    for place in classes:
        is_positive = truth == place
        if weights @ is_positive > 0 and weights @ ~is_positive > 0:
            found.append(_ranking(is_positive, probabilities[:, place], weights))
    if not found:
        return {}
    auc, average_precision = np.mean(found, axis=0).tolist()
    return {"auc": auc, "average_precision": average_precision}


def _ranking(
    is_positive: NDArray[np.bool_], scores: NDArray[np.floating[Any]], weights: Weights
) -> tuple[float, float]:
    """Area under the ROC curve and average precision; rows of equal scores have no order among them."""
    order = np.argsort(-scores, kind="stable")
    order = order[weights[order] > 0]
    ordered, hits = scores[order], np.cumsum((weights * is_positive)[order])
    # Where a threshold parts rows: after the last of those with equal scores.
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    positives, chosen = hits[ends], np.cumsum(weights[order])[ends]
    negatives = chosen - positives
    gained, wrong = np.diff(positives, prepend=0.0), np.diff(negatives, prepend=0.0)
    auc = float((wrong * (positives - gained / 2)).sum() / (positives[-1] * negatives[-1]))
    return auc, float((gained * positives / chosen).sum() / positives[-1])


def log_loss(likelihoods: Sequence[float] | NDArray[np.floating[Any]]) -> float:
    """The mean of −log of the probabilities that were given to the labels; none counts as less than 1e-7."""
    return float(-np.log(np.maximum(likelihoods, MIN_LIKELIHOOD)).mean())


def distances(
    truth: NDArray[np.int64], probabilities: NDArray[np.floating[Any]], weights: Weights | None = None
) -> dict[str, float]:
    """``log_loss``, the mean of −log of the probabilities that were given to the labels, of which none counts as less than
    1e-7; and ``brier``, the mean squared distance of all probabilities from the label (Brier 1950).

    Rows whose class could not be known, since its probability is NaN, do not count; nothing where there are no others.

    Args:
        truth: the places of the labels among the classes ``[rows]``.
        probabilities: ``[rows, classes]``.
    """
    own = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    counts = _counts(len(truth), weights) * np.isfinite(own)
    if counts.sum() <= 0:
        return {}
    own, chances = np.nan_to_num(own), np.nan_to_num(probabilities.astype(np.float64))
    losses = -np.log(np.maximum(own, MIN_LIKELIHOOD))
    squared = (chances**2).sum(1) - 2 * own + 1
    return {
        "log_loss": float(counts @ losses / counts.sum()),
        "brier": float(counts @ squared / counts.sum()),
    }


def label_log_losses(probabilities: NDArray[np.floating[Any]], wanted: NDArray[Any]) -> NDArray[np.float64]:
    """The mean binary cross-entropy of each row ``[rows]``; no probability counts as nearer to 0 or 1 than 1e-7.

    Args:
        probabilities: ``[rows, classes]``.
        wanted: whether a row is of each class ``[rows, classes]``.
    """
    likelihoods = np.where(wanted, probabilities, 1 - probabilities).astype(np.float64)
    return np.asarray(-np.log(np.maximum(likelihoods, MIN_LIKELIHOOD)).mean(1), np.float64)


def label_log_loss(probabilities: NDArray[np.floating[Any]], wanted: NDArray[Any]) -> float:
    """The mean of :func:`label_log_losses`; a probability that is no number counts as 0."""
    return float(label_log_losses(np.nan_to_num(probabilities), wanted > 0).mean())


def of_values(
    labels: Sequence[Label], values: Sequence[Label | None], weights: Weights | None = None
) -> dict[str, float]:
    """``mae`` and ``rmse`` of a regression."""
    errors, weights = value_errors(labels, values), _counts(len(labels), weights)
    total = weights.sum()
    return {"mae": float(weights @ errors / total), "rmse": float(np.sqrt(weights @ errors**2 / total))}


def value_errors(labels: Sequence[Label], values: Sequence[Label | None]) -> NDArray[np.float64]:
    """The absolute errors ``[rows]``."""
    return np.abs(np.asarray(values, np.float64) - np.asarray(labels, np.float64))

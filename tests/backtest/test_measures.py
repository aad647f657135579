"""Measures are those of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from driftline.learning.monitoring import stream_metrics

metrics: Any = pytest.importorskip("sklearn.metrics")


def answers(rows: int, classes: int, seed: int, ties: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels, and probabilities that tell something of them; with ``ties`` many of these are equal."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=rows)
    logits = random.normal(size=(rows, classes)) + np.eye(classes)[truth]
    if ties:
        logits = np.round(logits)
    odds = np.exp(logits)
    return truth, odds / odds.sum(1, keepdims=True)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_two_classes_are_ranked_by_the_probability_of_the_second(seed: int, ties: bool) -> None:
    truth, probabilities = answers(200, 2, seed, ties)
    found = stream_metrics.rankings(truth, probabilities)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(truth, probabilities[:, 1]))
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(truth, probabilities[:, 1]))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [3, 7])
def test_more_classes_are_ranked_each_against_the_rest(classes: int, ties: bool) -> None:
    truth, probabilities = answers(300, classes, 1, ties)
    found = stream_metrics.rankings(truth, probabilities)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(truth, probabilities, multi_class="ovr"))
    expected = metrics.average_precision_score(np.eye(classes)[truth], probabilities, average="macro")
    assert found["average_precision"] == pytest.approx(expected)


def test_a_class_that_never_comes_or_always_has_no_rank() -> None:
    truth, probabilities = answers(100, 3, 1, False)
    truth[truth == 2] = 0
    found = stream_metrics.rankings(truth, probabilities)
    each = [metrics.roc_auc_score(truth == place, probabilities[:, place]) for place in (0, 1)]
    assert found["auc"] == pytest.approx(np.mean(each))
    assert stream_metrics.rankings(np.zeros(100, np.int64), probabilities[:, :2]) == {}


def test_recall_balanced_accuracy_kappa_and_log_loss() -> None:
    truth, probabilities = answers(300, 4, 3, False)
    answered = probabilities.argmax(1)
    labels, given = [f"c{place}" for place in truth], [f"c{place}" for place in answered]
    found = stream_metrics.of_classes(labels, given)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, answered))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, answered))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, answered))
    recalls = stream_metrics.recalls(labels, given)
    names = [f"c{place}" for place in range(4)]
    assert [recalls[name] for name in names] == pytest.approx(metrics.recall_score(truth, answered, average=None))
    likelihoods = probabilities[np.arange(300), truth]
    assert stream_metrics.log_loss(likelihoods) == pytest.approx(metrics.log_loss(truth, probabilities))


def test_errors_of_values() -> None:
    random = np.random.default_rng(1)
    labels, values = random.normal(size=(2, 100)).tolist()
    found = stream_metrics.of_values(labels, values)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(labels, values))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(labels, values))

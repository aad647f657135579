"""Scores of whole streams, beside those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from driftline.learning.monitoring import stream_metrics


def test_classes_are_scored_as_scikit_learn_does() -> None:
    random = np.random.default_rng(3)
    labels = random.choice(["a", "b", "c"], 500, p=[0.7, 0.2, 0.1]).tolist()
    answers = [label if random.random() < 0.6 else "b" for label in labels]
    found = stream_metrics.of_classes(labels, answers)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, answers))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, answers))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(labels, answers))


def test_no_answer_is_wrong_and_one_class_is_no_success_over_chance() -> None:
    assert stream_metrics.of_classes([0, 1], [None, 1]) == {
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "macro_f1": pytest.approx(1 / 3),
        "kappa": 1 / 3,
    }
    assert stream_metrics.of_classes([0, 0], [0, 0])["kappa"] == 0.0


def test_a_label_that_was_given_no_probability_costs_a_finite_loss() -> None:
    assert stream_metrics.log_loss([0.5, 0.25]) == pytest.approx(1.5 * np.log(2))
    assert stream_metrics.log_loss([0.0]) == pytest.approx(-np.log(1e-7))


def test_values_are_scored_by_their_errors() -> None:
    assert stream_metrics.of_values([1.0, 2.0], [4.0, 2.0]) == {"mae": 1.5, "rmse": pytest.approx(np.sqrt(4.5))}

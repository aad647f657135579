"""Confusion and calibration of a window are those of its labels alone, however they came into it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from driftline.learning.monitoring.prequential import Prequential
from driftline.learning.monitoring.window_tables import MAX_CONFUSED
from tests.learning.conftest import through_files
from tests.learning.monitoring.test_prequential import WINDOW, drawn, played

COUNT = 1700


@pytest.fixture(scope="module")
def scored() -> Prequential:
    return played(*drawn(COUNT, 4))


def test_the_confusion_is_that_of_the_window(scored: Prequential) -> None:
    labels, shares = drawn(COUNT, 4)
    found = scored.shown()["window"]["confusion"]
    expected = confusion_matrix(labels[-WINDOW:], shares[-WINDOW:].argmax(1), labels=found["classes"])
    assert found["counts"] == expected.tolist()


def test_the_calibration_is_that_of_the_window(scored: Prequential) -> None:
    labels, shares = drawn(COUNT, 4)
    sure, is_right = shares[-WINDOW:].max(1).astype(float), shares[-WINDOW:].argmax(1) == labels[-WINDOW:]
    accuracy, confidence = calibration_curve(is_right, sure, n_bins=10)
    found = scored.shown()["window"]["calibration"]
    assert [each["accuracy"] for each in found] == pytest.approx(accuracy)
    assert [each["confidence"] for each in found] == pytest.approx(confidence)
    assert sum(each["count"] for each in found) == WINDOW


def test_they_follow_from_the_window_that_is_kept(scored: Prequential) -> None:
    other = Prequential(is_regression=False)
    other.load_state_dict(through_files(scored.state_dict()))
    assert json.dumps(other.shown()["window"]["confusion"]) == json.dumps(scored.shown()["window"]["confusion"])
    for before, after in zip(
        scored.shown()["window"]["calibration"], other.shown()["window"]["calibration"], strict=True
    ):
        assert after == pytest.approx(before)


def test_more_labels_at_once_than_the_window_holds() -> None:
    labels, shares = drawn(50, 3)
    one = played(labels, shares)
    small = Prequential(is_regression=False, size=20)
    small.names, small._numbers = one.names, one._numbers
    small.add(list(one.window))
    assert sum(map(sum, small.shown()["window"]["confusion"]["counts"])) == 20


def test_of_many_classes_those_with_the_most_labels_are_told() -> None:
    labels = np.arange(400) % 40
    _, shares = drawn(400, 40)
    found = played(labels, shares).shown()["window"]["confusion"]
    assert len(found["classes"]) == len(found["counts"]) == MAX_CONFUSED


def test_values_have_neither() -> None:
    window = Prequential(is_regression=True).shown()["window"]
    assert "confusion" not in window and "calibration" not in window

"""The prequential scores are those of the textbooks, of all labels, of the newest, and of all as older ones fade."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from driftline.learning.monitoring.prequential import MAX_CLASSES, Prequential
from driftline.records import Answer, Item
from driftline.spec.classes import indices_of
from tests.learning.conftest import assert_same, through_files

WINDOW, FADE = 1000, 0.999


def drawn(count: int, classes: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels, and probabilities ``[count, classes]`` that lean towards them."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.3, count) - 1, classes - 1)
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    shares = np.exp(logits)
    return labels, (shares / shares.sum(1, keepdims=True)).astype(np.float32)


def played(labels: NDArray[np.int64], shares: NDArray[np.float32], names: list[int | str] | None = None) -> Prequential:
    found = Prequential(is_regression=False)
    names = names or list(range(shares.shape[1]))
    places = indices_of(names)
    for n, (label, row) in enumerate(zip(labels, shares, strict=True), 1):
        answer = Answer(1, names[int(row.argmax())], row.tobytes())
        found.add([found.score(n, Item("i", {}, names[label], answer=answer), places)])
    return found


def textbook(
    labels: NDArray[np.int64], shares: NDArray[np.float32], weights: NDArray[np.floating] | None = None
) -> dict[str, float]:
    answers, weights = shares.argmax(1), np.ones(len(labels)) if weights is None else weights
    sure, is_right = shares.max(1).astype(float), answers == labels
    bins = np.minimum(9, (10 * sure).astype(int))
    gaps = [abs((weights * (sure - is_right))[bins == number].sum()) for number in range(10)]
    return {
        "accuracy": reference.accuracy_score(labels, answers, sample_weight=weights),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, answers, sample_weight=weights),
        "macro_f1": reference.f1_score(labels, answers, average="macro", sample_weight=weights),
        "brier": float(np.average(((shares - np.eye(shares.shape[1])[labels]) ** 2).sum(1), weights=weights)),
        "kappa": reference.cohen_kappa_score(labels, answers, sample_weight=weights),
        "log_loss": reference.log_loss(
            labels,
            shares / shares.sum(1, keepdims=True, dtype=float),
            labels=range(shares.shape[1]),
            sample_weight=weights,
        ),
        "calibration_error": sum(gaps) / weights.sum(),
    }


def assert_close(shown: dict[str, float], expected: dict[str, float]) -> None:
    assert {name: shown[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_the_scores_of_a_classification_are_sklearns() -> None:
    labels, shares = drawn(3000, 5)
    shown = played(labels, shares).shown()
    assert shown["count"] == 3000
    assert_close(shown, textbook(labels, shares))
    assert (shown["window"]["count"], shown["window"]["size"]) == (WINDOW, WINDOW)
    assert_close(shown["window"], textbook(labels[-WINDOW:], shares[-WINDOW:]))
    ages = np.arange(3000)[::-1]
    assert_close(shown["fading"], textbook(labels, shares, FADE**ages))
    assert shown["fading"]["count"] == pytest.approx((FADE**ages).sum())


def test_fading_goes_on_where_its_weights_are_scaled_back() -> None:
    labels, shares = drawn(25_000, 3)
    shown = played(labels, shares).shown()
    assert_close(shown["fading"], textbook(labels, shares, FADE ** np.arange(25_000)[::-1]))


def test_each_class_has_its_support_recall_and_precision() -> None:
    labels, shares = drawn(800, 4)
    classes = played(labels, shares, ["a", 1, "1", "d"]).shown()["window"]["classes"]
    precision, recall, _, support = reference.precision_recall_fscore_support(labels, shares.argmax(1))
    by_name = {(type(each["class"]), each["class"]): each for each in classes}
    for number, name in enumerate(["a", 1, "1", "d"]):
        each = by_name[type(name), name]
        assert each["support"] == support[number]
        assert each["recall"] == pytest.approx(recall[number])
        assert each["precision"] == pytest.approx(precision[number])


def test_of_a_thousand_classes_the_largest_are_shown() -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(1000), rng.integers(20, 30, 500)])
    found = played(labels, np.full((len(labels), 1000), 0.001, np.float32))
    shown = found.shown()
    assert len(shown["window"]["classes"]) == MAX_CLASSES
    assert {each["class"] for each in shown["window"]["classes"][:10]} == set(range(20, 30))
    assert len(json.dumps(shown)) < 4000


def test_the_scores_of_a_regression_are_sklearns() -> None:
    rng = np.random.default_rng(0)
    labels = 1e6 + rng.normal(size=2500)
    values = (labels + rng.normal(0.3, 0.5, size=2500)).astype(np.float32)
    found = Prequential(is_regression=True)
    for n, (label, value) in enumerate(zip(labels, values, strict=True), 1):
        found.add([found.score(n, Item("i", {}, float(label), answer=Answer(1, None, value.tobytes())))])
    shown = found.shown()
    for part, some in ((shown, slice(None)), (shown["window"], slice(-WINDOW, None))):
        difference = values[some].astype(float) - labels[some]
        assert part["mae"] == pytest.approx(np.abs(difference).mean())
        assert part["rmse"] == pytest.approx(math.sqrt((difference**2).mean()))
        assert part["bias"] == pytest.approx(difference.mean())
        assert part["r2"] == pytest.approx(reference.r2_score(labels[some], values[some].astype(float)))


@pytest.mark.parametrize("is_regression", [True, False])
def test_nothing_scored_is_shown_as_nothing(is_regression: bool) -> None:
    shown = Prequential(is_regression).shown()
    assert shown["count"] == shown["window"]["count"] == shown["fading"]["count"] == 0
    assert "accuracy" not in shown and "mae" not in shown


def test_an_answer_before_any_class_was_known_is_wrong() -> None:
    found = Prequential(is_regression=False)
    found.add([found.score(1, Item("i", {}, "a", answer=Answer(1, None, b"")), {(str, "a"): 0})])
    shown = found.shown()
    assert shown["accuracy"] == 0 and "log_loss" not in shown
    assert shown["window"]["classes"] == [{"class": "a", "support": 1, "recall": 0, "precision": None}]


def test_an_answer_that_is_no_number_spoils_no_score() -> None:
    broken = np.array([np.nan, np.inf], np.float32)
    classes, values = Prequential(is_regression=False), Prequential(is_regression=True)
    classes.add([classes.score(1, Item("i", {}, 1, answer=Answer(1, 0, broken.tobytes())), {(int, 0): 0, (int, 1): 1})])
    values.add([values.score(1, Item("i", {}, 1.0, answer=Answer(1, None, broken.tobytes())))])
    for found in (classes, values):
        json.dumps(found.shown(), allow_nan=False)


def test_answers_that_are_scored_together_are_scored_as_each_by_itself() -> None:
    names: list[int | str] = ["a", 1, "1"]
    known, rng = indices_of(names), np.random.default_rng(0)
    records, places = [], []
    for n in range(60):
        shares = rng.dirichlet(np.ones(n % 4)).astype(np.float32) if n % 4 else np.zeros(0, np.float32)
        if n % 7 == 3:
            shares[:1] = [np.nan, np.inf][n % 2]
        answer = Answer(1, names[n % 3] if n % 5 else None, shares.tobytes())
        records.append((n, Item("i", {}, names[n * n % 3], weight=1.0 + n % 2, answer=answer)))
        places.append(known if n % 3 else None)
    together, alone = Prequential(is_regression=False), Prequential(is_regression=False)
    expected = [alone.score(n, item, where) for (n, item), where in zip(records, places, strict=True)]
    assert together.scores(records, places) == expected
    assert together.names == alone.names


def test_it_goes_on_from_its_state_as_json() -> None:
    labels, shares = drawn(2000, 4)
    one = played(labels, shares)
    other = Prequential(is_regression=False)
    other.load_state_dict(through_files(one.state_dict()))
    rows = list(one.window)[:300]
    for each in (one, other):
        for row in rows:
            each.add([row])
    assert_same(one.state_dict(), other.state_dict())
    assert one.shown() == other.shown()

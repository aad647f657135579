"""The scores of served answers, by the minute and the hour at which their labels came."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from app.routes.scores import shown, step_for
from driftline.errors import InvalidInput
from driftline.learning.monitoring.prequential import Prequential
from driftline.records import Answer, Item
from driftline.spec import ModelSpec, parse
from driftline.store.scores import Bucket, Sums, merged
from tests.services import spec
from worker.score_buckets import OpenBuckets, summed

CLASSES = ["no", "yes"]


def served(model: ModelSpec, rows: list[tuple[Any, Any, list[float], str | None]]) -> list[Any]:
    """Label, answered class, outputs and source of each, scored as the learner does."""
    scorer = Prequential(not model.kind.has_classes, layout=model.values)
    found = []
    for n, (label, answered, outputs, source) in enumerate(rows, 1):
        answer = Answer(1, answered, np.array(outputs, "<f4").tobytes())
        item = Item(f"i{n}", {"inputs": b""}, label, answer=answer, source=source)
        places: dict[tuple[type, object], int] = (
            {(str, name): place for place, name in enumerate(CLASSES)} if outputs else {}
        )
        found.append((item, scorer.score(n, item, places if model.kind.has_classes else None)))
    return found


CLASSIFIED = [
    ("yes", "yes", [0.2, 0.8], "north"),
    ("no", "no", [0.9, 0.1], None),
    ("yes", "no", [0.6, 0.4], "north"),
    ("no", "no", [0.7, 0.3], "south"),
]


def test_a_bucket_says_how_good_answers_were_by_class_and_source() -> None:
    model = parse(ModelSpec, spec(classes=CLASSES))
    bucket = summed(model, CLASSES, served(model, CLASSIFIED), 120)
    found = shown(bucket, has_classes=True)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.9, 0.4, 0.7]).mean(), rel=1e-4)
    assert (found["time"], found["count"], found["accuracy"], found["auc"]) == (120.0, 4, 0.75, 1.0)
    assert found["classes"] == {"yes": {"support": 2, "recall": 0.5}, "no": {"support": 2, "recall": 1.0}}
    assert found["sources"] == {"north": {"count": 2, "accuracy": 0.5}, "south": {"count": 1, "accuracy": 1.0}}


def test_an_answer_before_there_was_any_class_has_no_loss() -> None:
    model = parse(ModelSpec, spec(classes="open"))
    found = shown(summed(model, ["yes"], served(model, [("yes", None, [], None)]), 60), has_classes=True)
    assert found["accuracy"] == 0 and found["count"] == 1


def test_a_regression_has_errors() -> None:
    model = parse(ModelSpec, spec(task="regression", classes=None))
    found = shown(summed(model, [], served(model, [(1.0, None, [3.0], "a"), (5.0, None, [5.0], None)]), 0), False)
    assert found["mae"] == 1.0 and found["rmse"] == pytest.approx(2**0.5)
    assert found["sources"] == {"a": {"count": 1, "mae": 2.0}}


def test_buckets_of_several_minutes_are_those_of_all_their_labels() -> None:
    model = parse(ModelSpec, spec(classes=CLASSES))
    rows = served(model, CLASSIFIED)
    apart = [summed(model, CLASSES, [row], 60 * n) for n, row in enumerate(rows)]
    assert [bucket.total.count for bucket in merged(apart, 120)] == [2, 2]
    (whole,) = merged(apart, 3600)
    assert shown(whole, True) == shown(summed(model, CLASSES, rows, 0), True)


def test_a_step_fills_the_buckets_of_the_times_of_its_labels_and_none_that_is_over() -> None:
    model = parse(ModelSpec, spec(classes=CLASSES))
    rows = served(model, CLASSIFIED)
    buckets = OpenBuckets(None)  # type: ignore[arg-type]
    first = buckets.add(model, CLASSES, rows, {1: 3590.0, 2: 3599.0, 3: 3600.0, 4: 3665.0})
    assert [(bucket.time, bucket.total.count) for bucket in first["minutes"]] == [(3540, 2), (3600, 1), (3660, 1)]
    assert [(bucket.time, bucket.total.count) for bucket in first["hours"]] == [(0, 2), (3600, 2)]
    # The clock was set back: the labels count as of now.
    again = buckets.add(model, CLASSES, rows, dict.fromkeys(range(1, 5), 60.0))
    assert [(bucket.time, bucket.total.count) for bucket in again["minutes"]] == [(3660, 5)]
    assert buckets.add(model, CLASSES, [], {}) == {}


def test_a_bucket_keeps_the_classes_with_the_most_labels() -> None:
    bucket = Bucket(0)
    for name in range(200):
        for _ in range(1 + name % 3):
            bucket.classes.setdefault(str(name), Sums()).put(1.0)
    kept = msgspec.json.decode(bucket.stored, type=Bucket)
    assert len(kept.classes) == 50 and {sums.count for sums in kept.classes.values()} == {3}


def test_a_step_is_of_whole_minutes_and_of_hours_where_there_are_many() -> None:
    assert step_for(3600, None) == 60 and step_for(24 * 3600, None) == 300 and step_for(31 * 86400, None) == 7200
    assert step_for(3600, 61) == 120 and step_for(30 * 86400, 900) == 3600
    with pytest.raises(InvalidInput, match="step: 60 s"):
        step_for(365 * 86400, 60)

"""An alarm tells since when, and which classes."""

from __future__ import annotations

import random

import pytest

from driftline.learning.monitoring.attribution import MAX_NAMED, change_point, moved_classes
from driftline.learning.monitoring.running_metrics import ScoredPrediction


def rows(*parts: tuple[int, int, float], seed: int = 0) -> list[ScoredPrediction]:
    """Scored labels: so many, of such a class, wrong at such a rate."""
    rng = random.Random(seed)
    return [
        ScoredPrediction(0, number, number, float(rng.random() < rate))
        for count, number, rate in parts
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("before", "after"), [(600, 60), (100, 200), (900, 100)])
def test_the_change_is_found_within_a_few_labels(before: int, after: int, seed: int) -> None:
    rng = random.Random(seed)
    errors = [float(rng.random() < (0.1 if n < before else 0.7)) for n in range(before + after)]
    assert abs(change_point(errors) - before) <= 25


@pytest.mark.parametrize("errors", [[], [1.0], [0.0] * 50, [1.0] * 50, [1.0] * 20 + [0.0] * 20])
def test_without_a_rise_all_is_of_one_kind(errors: list[float]) -> None:
    assert change_point(errors) == 0


def test_the_class_that_errs_more_is_named_and_no_other() -> None:
    before = rows((200, 0, 0.1), (200, 1, 0.1), (200, 2, 0.4))
    after = rows((40, 0, 0.1), (40, 1, 0.9), (40, 2, 0.4), seed=1)
    (moved,) = moved_classes(before, after, ["a", "b", "c"])
    assert moved["class"] == "b" and moved["labels"] == 40
    assert moved["before"] < 0.2 and moved["now"] > 0.7


def test_a_class_that_is_new_is_named() -> None:
    (moved,) = moved_classes(rows((300, 0, 0.1)), rows((30, 0, 0.1), (30, 1, 1.0), seed=1), [5, "new"])
    assert moved == {"class": "new", "labels": 30, "before": None, "now": 1.0}


def test_the_list_is_bounded_and_the_worst_come_first() -> None:
    before = rows(*((100, number, 0.0) for number in range(30)))
    after = rows(*((10 + number, number, 1.0) for number in range(30)))
    found = moved_classes(before, after, list(range(30)))
    assert [moved["class"] for moved in found] == list(range(29, 29 - MAX_NAMED, -1))


def test_chance_names_hardly_a_class() -> None:
    found = [
        moved_classes(
            rows(*((30, number, 0.2) for number in range(20)), seed=seed),
            rows(*((5, number, 0.2) for number in range(20)), seed=seed + 1000),
            list(range(20)),
        )
        for seed in range(50)
    ]
    assert sum(map(len, found)) <= 0.005 * 50 * 20

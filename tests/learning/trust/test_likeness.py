"""What is nearest, what stays, and what is like, by the definitions, however it is computed."""

from __future__ import annotations

import numpy as np
import pytest

from driftline.learning.trust.comparison import Circle, MeasuredLabels, compare
from driftline.learning.trust.labeller import Labeller
from driftline.learning.trust.likeness import LIKE_QUANTILE, MIN_GAPS, ReferenceRows

SIZE, LABELLERS = 60, 9


def added(rows: ReferenceRows, random: np.random.Generator, count: int, width: int = 3) -> None:
    """Adds rows of several labellers, some of them twice."""
    points = random.integers(-3, 4, size=(count, width)).astype(np.float64) + random.normal(size=(count, 1)).round(1)
    points[random.random((count, width)) < 0.05] = np.nan
    rows.add(
        points=points,
        targets=random.integers(3, size=(count, 1)).astype(np.float64),
        owners=random.integers(LABELLERS, size=count) // random.integers(1, 3),
        numbers=np.arange(rows.added, rows.added + count),
        gaps=np.where(random.random(count) < 0.1, np.inf, random.random(count)),
        distances=random.random(count),
        errors=random.random(count),
        contradicts=np.where(random.random(count) < 0.3, np.nan, random.integers(2, size=count)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_rows_stay_by_labeller_and_what_is_nearest_is_found_whatever_came_and_went(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = ReferenceRows(SIZE)
    for step in range(40):
        before = rows.numbers, rows.owners
        added(rows, random, int(random.integers(1, 12)), 3 if step < 30 else 4)
        numbers, owners = rows.numbers, rows.owners
        assert len(rows) <= SIZE and (np.diff(numbers) > 0).all()
        counts = np.bincount(owners)
        for number, owner in zip(*before, strict=True):
            if number not in numbers and len(rows) > 12 and step != 30:
                assert counts[owner] >= counts.max() - 1, "the oldest of those with the most rows go"
                assert number < numbers[owners == owner].min()
        if step % 7 == 3:
            rows.leave_out(random.choice(numbers, 3))
        asked = random.normal(size=(5, rows.points.shape[1]))
        found, (points, _) = rows.nearest(asked), rows._measured(rows.points)
        far = np.sqrt(((rows._measured(asked)[0][:, None] - points[None]) ** 2).sum(2))
        owners = rows.owners
        assert found.owners.tolist() == sorted(set(owners.tolist()))
        for column, owner in enumerate(found.owners):
            assert (owners[found.places[:, column]] == owner).all()
            np.testing.assert_allclose(found.gaps[:, column], far[:, owners == owner].min(1), atol=1e-6)
        known = rows.gaps[np.isfinite(rows.gaps)]
        assert rows.like_gap == (np.quantile(known, LIKE_QUANTILE) if len(known) >= MIN_GAPS else -1)


@pytest.mark.parametrize("callers", [LABELLERS, 2, 4])
def test_labels_are_compared_with_those_of_others_on_like_rows_alone(callers: int) -> None:
    random = np.random.default_rng(callers)
    rows, circle = ReferenceRows(), Circle([Labeller(f"k{place % callers}", f"{place}") for place in range(LABELLERS)])
    added(rows, random, 300)
    owners = random.integers(LABELLERS, size=20)
    own = random.choice(len(rows), 20)
    measured = MeasuredLabels(
        np.arange(20),
        rows.points[own],
        random.integers(3, size=(20, 1)).astype(np.float64),
        np.zeros(20),
        random.integers(3, size=20).astype(np.float64),
    )
    found, nearest = compare(rows, measured, owners, circle), rows.nearest(measured.points)
    marks, targets = rows.contradicts, rows.targets[:, 0]
    for row, owner in enumerate(owners):
        others = [column for column, each in enumerate(nearest.owners) if circle.groups[each] != circle.groups[owner]]
        assert found.gaps[row] == min(nearest.gaps[row, others])
        like = [nearest.places[row, column] for column in others if nearest.gaps[row, column] <= rows.like_gap]
        heard = marks[like][np.isfinite(marks[like])]
        assert (found.heard[row], found.local[row]) == (len(heard), heard.sum())
        same = list(nearest.places[row][(nearest.owners == owner) & (nearest.gaps[row] < 1e-6)])
        assert found.repeated[row] == bool(same)
        assert found.changed[row] == any(targets[place] != measured.targets[row, 0] for place in same)

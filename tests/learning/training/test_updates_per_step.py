"""How many updates a step gets."""

from __future__ import annotations

import pytest

from driftline.learning.training.updates_per_step import rows_at_once, rows_of_step, updates_for
from driftline.spec import Recipe


@pytest.mark.parametrize(
    ("rows", "has_backlog", "updates"),
    [(32, False, 4), (16, False, 2), (1, False, 1), (0, False, 1), (32, True, 1), (1, True, 1), (64, True, 2)],
)
def test_a_smaller_step_gets_its_share_of_the_updates(rows: int, has_backlog: bool, updates: int) -> None:
    assert updates_for(Recipe(updates=4, batch_size=32), rows, has_backlog) == updates


@pytest.mark.parametrize(
    ("learned", "delay", "rows"),
    [(0, 32, 1), (31, 32, 1), (64, 32, 4), (10_000, 32, 8), (10_000, 1000, 32), (10_000, 0, 1)],
)
def test_a_step_waits_for_little_beside_what_its_labels_have_waited(learned: int, delay: int, rows: int) -> None:
    assert rows_of_step(learned, delay, most=32) == rows


@pytest.mark.parametrize(("rows", "learned", "at_once"), [(32, 5000, 0), (128, 1999, 32), (128, 2000, 64)])
def test_of_a_backlog_two_batches_are_learned_at_once_after_the_first_labels(
    rows: int, learned: int, at_once: int
) -> None:
    assert rows_at_once(Recipe(batch_size=32), rows, learned) == at_once

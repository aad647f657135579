"""How many updates a step gets."""

from __future__ import annotations

import pytest

from driftline.learning.pace import updates_for
from driftline.spec import Recipe


@pytest.mark.parametrize(
    ("rows", "has_backlog", "updates"),
    [(32, False, 4), (16, False, 2), (1, False, 1), (0, False, 1), (32, True, 1), (1, True, 1)],
)
def test_a_smaller_step_gets_its_share_of_the_updates(rows: int, has_backlog: bool, updates: int) -> None:
    assert updates_for(Recipe(updates=4, batch_size=32), rows, has_backlog) == updates

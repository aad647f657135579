"""The level of a probability is that of its log-odds."""

from __future__ import annotations

import math

from driftline.learning.monitoring.ranking import LEVELS, levels_of


def test_the_level_of_a_probability_is_where_its_log_odds_are_between_the_least_and_the_highest() -> None:
    chances = [0.0, 1e-12, 1e-6, 0.01, 0.25, 0.5, 0.75, 0.99, 1 - 1e-6, 1.0]
    levels = levels_of(chances)
    assert levels[0] == 0 and levels[-1] == LEVELS - 1 and levels == sorted(levels)
    for chance, level in zip(chances[2:-1], levels[2:-1], strict=True):
        assert level == int((math.log(chance / (1 - chance)) + 16) * LEVELS / 32)


def test_what_is_no_number_counts_as_no_probability_and_what_exceeds_the_range_as_its_end() -> None:
    assert levels_of([math.nan, -math.inf, -1.0, 2.0, math.inf]) == [0, 0, 0, LEVELS - 1, LEVELS - 1]

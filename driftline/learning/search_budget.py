"""What a race between learning rates costs."""

from __future__ import annotations

import math

FACTORS = (1 / 30, 1 / 10, 1 / 3, 1.0, 3.0, 10.0, 30.0)
"""The rates that race, in units of the recipe's own."""
FEWEST_EXAMPLES = 20
MOST_HELD = 2000
FEWEST_UPDATES, MOST_UPDATES = 10, 100


def held_rows(examples: int) -> int:
    """How many of so many examples judge, and are not trained on."""
    return min(MOST_HELD, examples // 5)


def updates_a_rate(examples: int, batch_size: int) -> int:
    """The updates of one rate: an epoch, within bounds."""
    rounds = math.ceil((examples - held_rows(examples)) / batch_size)
    return min(MOST_UPDATES, max(FEWEST_UPDATES, rounds))


def search_updates(examples: int, batch_size: int) -> int:
    """The updates of all rates; none where there are too few examples to judge by."""
    return len(FACTORS) * updates_a_rate(examples, batch_size) if examples >= FEWEST_EXAMPLES else 0

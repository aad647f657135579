"""How much a step trains."""

from __future__ import annotations

from driftline.spec import Recipe

BATCHES_OF_BACKLOG = 4


def updates_for(recipe: Recipe, rows: int, has_backlog: bool = False) -> int:
    """Gradient updates of a step with so many ``rows``: the recipe's for a full batch, for a smaller one its share.

    While labels are piling up it is one a step, so that learning catches up.
    """
    return 1 if has_backlog else max(1, round(recipe.updates * rows / recipe.batch_size))


def records_of_step(recipe: Recipe, waiting: int, at_hand: int) -> int:
    """How many records the next step takes of those that wait, of which so many are ``at_hand``.

    Far from the end of the log it takes several batches, which are learned one after the other: what a commit costs is shared.
    """
    many = BATCHES_OF_BACKLOG * recipe.batch_size
    return many if at_hand >= many and waiting - many > recipe.batch_size else min(at_hand, recipe.batch_size)


def rows_of_step(learned: int, delay: int, most: int) -> int:
    """How many labels a step takes that come one by one, each ``delay`` rows late, when ``learned`` of them have come.

    Each of the first is learned by itself: they teach the most. Later a step waits for a quarter of the delay, which is little
    beside what its labels have waited already, and is of ``most`` labels at most.
    """
    return max(1, min(most, delay // 4, learned // 16))

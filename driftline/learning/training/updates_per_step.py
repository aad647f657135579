"""How much a step trains."""

from __future__ import annotations

from driftline.spec import Recipe

BATCHES_OF_BACKLOG = 4
BATCHES_AT_ONCE = 2
WELL_TAUGHT = 2000
"""After so many labels, more of them that are learned at once teach as much as one after the other."""


def updates_for(recipe: Recipe, rows: int, has_backlog: bool = False) -> int:
    """Gradient updates for ``rows`` that are learned at once: the recipe's for a full batch, for a smaller one its share.

    While labels are piling up it is one a batch, so that learning catches up.
    """
    updates = 1 if has_backlog else recipe.updates
    return max(1, round(updates * rows / recipe.batch_size))


def records_of_step(recipe: Recipe, waiting: int, at_hand: int) -> int:
    """How many records the next step takes of those that wait, of which so many are ``at_hand``.

    Far from the end of the log it takes several batches (:func:`rows_at_once`): what a commit costs is shared.
    """
    many = BATCHES_OF_BACKLOG * recipe.batch_size
    return many if at_hand >= many and waiting - many > recipe.batch_size else min(at_hand, recipe.batch_size)


def rows_at_once(recipe: Recipe, rows: int, learned: int) -> int:
    """How many of a step's ``rows`` are answered, scored and learned at once when ``learned`` labels have been; 0: all.

    Of a step of several batches it is one of them, and later two: what is done once for all of them is most of the work.
    """
    if rows <= recipe.batch_size:
        return 0
    return recipe.batch_size * (BATCHES_AT_ONCE if learned >= WELL_TAUGHT else 1)


def rows_of_step(learned: int, delay: int, most: int) -> int:
    """How many labels a step takes that come one by one, each ``delay`` rows late, when ``learned`` of them have come.

    Each of the first is learned by itself: they teach the most. Later a step waits for a quarter of the delay, which is little
    beside what its labels have waited already, and is of ``most`` labels at most.
    """
    return max(1, min(most, delay // 4, learned // 16))

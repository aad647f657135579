"""What an alarm is attributed to: since when the error is higher, and which classes it comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from driftline.learning.monitoring.running_metrics import ScoredPrediction

DEVIATIONS = 3.0
MAX_NAMED = 10


def change_point(errors: Sequence[float]) -> int:
    """Where a rise of the mean has most likely begun: the index from which the errors are of the new mean (Hinkley 1970).

    It is the split whose sides' means differ most for their sizes; 0 where no split has the higher mean after it.

    >>> change_point([0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1])
    6
    """
    values = np.asarray(errors, np.float64)
    if len(values) < 2:
        return 0
    before = np.cumsum(values)[:-1]
    sizes = np.arange(1, len(values))
    rises = (values.sum() - before) / (len(values) - sizes) - before / sizes
    gains = np.where(rises > 0, rises**2 * sizes * (len(values) - sizes), 0.0)
    return int(gains.argmax()) + 1 if gains.max() > 0 else 0


def moved_classes(
    before: Sequence[ScoredPrediction], after: Sequence[ScoredPrediction], names: Sequence[int | str]
) -> list[dict[str, Any]]:
    """The classes whose own error has risen, the one with the most new errors first.

    A class must err ``DEVIATIONS`` deviations more often than ``before``, less half an error, since errors are whole. One that
    had few labels there is taken to have erred as all did.

    Returns:
        ``[{"class", "labels", "before", "now"}]``: labels after the change, and the rates of error, ``before`` None for a
        class that had no label there.
    """
    overall = sum(row.error for row in before) / len(before) if before else 0.5
    found = []
    for number in dict.fromkeys(int(row.truth) for row in after):
        old = [row.error for row in before if row.truth == number]
        new = [row.error for row in after if row.truth == number]
        rate = min(0.99, max(0.01, (sum(old) + overall) / (len(old) + 1)))
        excess = sum(new) - len(new) * rate
        # Both the new errors and the old rate are only as sure as their numbers.
        deviation = math.sqrt(len(new) * rate * (1 - rate) * (1 + len(new) / (len(old) + 1)))
        if excess - 0.5 > DEVIATIONS * deviation:
            was = sum(old) / len(old) if old else None
            moved = {"class": names[number], "labels": len(new), "before": was, "now": sum(new) / len(new)}
            found.append((excess, moved))
    return [moved for _, moved in sorted(found, key=lambda pair: -pair[0])][:MAX_NAMED]

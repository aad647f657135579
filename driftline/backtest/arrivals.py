"""When the labels of a stream come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline.records import Label


@dataclass(frozen=True)
class Arrivals:
    """The rows that have a label, in the order in which their labels come; and of each how many rows were predicted by then."""

    rows: list[int]
    due: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def delay(self, place: int) -> int:
        """How many rows are predicted between a row and its label."""
        return self.due[place] - self.rows[place] - 1

    def known(self, rows: int) -> NDArray[np.int64]:
        """How many labels have come before each of so many rows is predicted."""
        return np.searchsorted(np.array(self.due, np.int64), np.arange(rows), side="right").astype(np.int64)


def after_rows(labels: Sequence[Label | None], delay: int) -> Arrivals:
    """Each label comes once ``delay`` more rows were predicted, whether those have labels or not."""
    rows = [row for row, label in enumerate(labels) if label is not None]
    return Arrivals(rows, [row + 1 + delay for row in rows])


def at_times(labels: Sequence[Label | None], times: NDArray[np.float64], known_at: NDArray[np.float64]) -> Arrivals:
    """Each label comes before the first later row whose time is not before the label's own; if there is none, never.

    Args:
        times: of the rows ``[rows]``, ascending.
        known_at: of the labels ``[rows]``; NaN: it never comes.
    """
    rows = np.array([row for row, label in enumerate(labels) if label is not None], np.int64)
    rows = rows[~np.isnan(known_at[rows])]
    due = np.searchsorted(times, known_at[rows], side="left")
    due = np.maximum(np.where(due == len(times), len(times) + 1, due), rows + 1)
    order = np.lexsort((rows, known_at[rows], due))
    return Arrivals(rows[order].tolist(), due[order].tolist())

"""How well probabilities rank rows, from counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from driftline.learning.stateful import State, Stateful

LEVELS = 512
"""Levels of log-odds from -16 to 16: probabilities of the same level count as equal."""
LOWEST, HIGHEST = 1e-7, 1 - 1e-7
LEAST_LEVEL = 0
"""That of a probability of 0."""
MAX_RANKED = 20
"""Of more classes no ranking is measured."""


def levels_of(probabilities: Sequence[float]) -> list[int]:
    """The level of each probability ``[classes]``; what is no number counts as none."""
    odds = []
    for chance in probabilities:
        chance = min(chance, HIGHEST) if chance > LOWEST else LOWEST
        odds.append(chance / (1 - chance))
    logs: list[float] = np.log(odds).tolist()
    return [min(max(int((each + 16) * (LEVELS / 32)), 0), LEVELS - 1) for each in logs]


class RankingHistogram(Stateful):
    """How many rows had which level of probability of each class, ``rows`` ``[classes, LEVELS]``, and how many of these were of
    that class, ``hits``; ``count`` is that of all rows.

    A class that came later had no probability in the rows before.
    """

    STATE = ("count", "rows", "hits")

    def __init__(self) -> None:
        self.count = 0.0
        self.rows = np.zeros((0, LEVELS))
        self.hits = np.zeros((0, LEVELS))

    def add(self, truth: int, levels: Sequence[int], weight: float) -> None:
        """Takes a row in: its class, and the level of each class's probability; none where it was not told."""
        if not levels or truth >= MAX_RANKED:
            return
        missing = max(len(levels), truth + 1) - len(self.rows)
        if missing > 0:
            self.rows, self.hits = (np.pad(each, ((0, missing), (0, 0))) for each in (self.rows, self.hits))
        self.count += weight
        for row, level in zip(self.rows, levels, strict=False):
            row[level] += weight
        self.hits[truth, levels[truth] if truth < len(levels) else 0] += weight
        if truth >= len(levels):
            self.rows[truth, 0] += weight

    def scale(self, factor: float) -> None:
        """Lets every row weigh ``factor`` times what it did."""
        self.count *= factor
        self.rows *= factor
        self.hits *= factor

    def scores(self) -> dict[str, float]:
        """``auc``, the area under the ROC curve, and ``average_precision``.

        Of two classes that of the second; of more the mean over the classes, each against the rest. A class that is in no row,
        or in all, has none; nothing where that is so of every one.
        """
        classes = range(1, 2) if len(self.rows) == 2 else range(len(self.rows))
        found = [scores for place in classes if (scores := self._of_class(place)) is not None]
        return dict(zip(("auc", "average_precision"), np.mean(found, axis=0).tolist(), strict=True)) if found else {}

    def _of_class(self, place: int) -> tuple[float, float] | None:
        rows, hits = self.rows[place].copy(), self.hits[place]
        rows[0] += max(0.0, self.count - rows.sum())
        others = np.maximum(rows - hits, 0.0)
        positives, negatives = hits.sum(), others.sum()
        # Weights that were taken out again leave what is rounded.
        if min(positives, negatives) <= 1e-9 * max(self.count, 1.0):
            return None
        above, chosen = np.cumsum(hits[::-1])[::-1], np.cumsum(rows[::-1])[::-1]
        auc = float((others * (above - hits / 2)).sum() / (positives * negatives))
        precision = np.divide(above, chosen, out=np.zeros(LEVELS), where=chosen > 0)
        return auc, float((hits * precision).sum() / positives)

    def packed(self, name: str) -> Any:
        value = getattr(self, name)
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    def restored(self, name: str, state: State) -> Any:
        return state.data[name] if name == "count" else state.tensors[name].numpy().copy()

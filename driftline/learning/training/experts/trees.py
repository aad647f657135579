"""How boosted trees are grown from the newest rows, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from driftline.learning.stateful import Stateful
from driftline.learning.training.experts.bank import NO_COLUMNS, NO_VALUES
from driftline.networks.experts.trees import TREES, Trees
from driftline.networks.kernels.tree_growth import grow
from driftline.networks.kernels.views import array_of


class TreesLearner(Stateful):
    """Puts a new tree in the place of the oldest, again and again.

    Each tree follows the gradient that the others leave, over all rows of a window: once all of them are replaced, none knows
    what has left it. Its questions come from some of the rows and features, from histograms between quantiles (Ke et al. 2017,
    "LightGBM"), and of more than a few outputs from random sums of their gradients (Iosipoi & Vakhrushev 2022, "SketchBoost").
    Features that were split before are drawn more often: where a few of many numbers matter, these are soon found.

    ``sums`` are what the trees say of each row of the window; ``importance`` is how often a feature was split of late;
    ``grown`` counts trees, ``waiting`` rows since the last one.

    Args:
        trees: what is served.
        size: rows of the window.
        features: numbers in a row.
        period: rows of one more tree; at the start more trees are grown of fewer rows.
        hurried_period: rows of one while labels pile up.
        rate: how far a leaf goes at once.
        penalty: how many rows of the largest curvature a leaf is held back by.
        min_leaf: rows of a leaf, as they are weighted, at least.
        drawn: features that a tree may ask for at most.
        bins: parts of a feature, between quantiles.
        sketch: sums of gradients at most.
        largest: the most a leaf adds.
    """

    STATE = ("sums", "importance", "grown", "waiting")
    DERIVED = (
        *("trees", "period", "hurried_period", "rate", "penalty", "min_leaf", "drawn", "bins", "sketch", "largest"),
        "few",
    )

    def __init__(
        self,
        trees: Trees,
        size: int,
        features: int,
        *,
        period: int = 16,
        hurried_period: int = 64,
        rate: float = 0.1,
        penalty: float = 1.0,
        min_leaf: float = 3.0,
        drawn: int = 32,
        bins: int = 16,
        sketch: int = 4,
        largest: float = 2.0,
    ) -> None:
        self.trees = trees
        self.period, self.hurried_period = period, hurried_period
        self.rate, self.penalty, self.min_leaf, self.largest = rate, penalty, min_leaf, largest
        self.drawn, self.bins, self.sketch = min(drawn, features), bins, sketch
        # Of fewer rows nothing is split.
        self.few = 2 * min_leaf
        self.sums = torch.zeros(size, trees.values.shape[2])
        self.importance = torch.ones(features)
        self.grown = 0
        self.waiting = 0

    def recall(self, rows: Tensor) -> None:
        """Makes state that fits the trees and a window of ``rows`` ``[filled, features]``."""
        self.grown, self.waiting = 0, 0
        # The mixture may have got its columns after its learner was made.
        self.sums = self.sums.new_zeros(len(self.sums), self.trees.values.shape[2])
        if not self.trees.is_silent:
            self.sums[: len(rows)] = self.trees.sums(rows)

    def restart(self, rows: Tensor) -> None:
        """Begins again, with a window of ``rows`` ``[filled, features]``: of other units than the cuts are."""
        self.trees.clear()
        self.sums.zero_()
        self.grown, self.waiting = 0, len(rows)

    def continue_from(self, former: TreesLearner, places: Tensor, slots: Tensor) -> None:
        """Goes on from rows with fewer numbers, which stand at ``places`` now; those in ``slots`` come into the first ones."""
        self.sums[: len(slots)] = former.sums[slots]
        self.importance.fill_(former.importance.mean())[places] = former.importance
        self.grown, self.waiting = former.grown, min(len(slots), former.waiting)

    def learn(
        self, rows: Tensor, targets: Tensor, weights: Tensor, generator: torch.Generator, is_hurried: bool = False
    ) -> None:
        """Grows the trees that are due on a window.

        Args:
            rows: ``[filled, features]``.
            targets: ``[filled]`` columns, or values ``[filled, outputs]``.
            weights: ``[filled]``, how much each row counts.
            generator: what rows and features are drawn from.
            is_hurried: whether labels pile up.
        """
        period = self.hurried_period if is_hurried else self.period
        while self.are_due(len(rows), is_hurried):
            self.waiting = max(0, self.waiting - period)
            if len(rows) < self.few or self.trees.is_silent:
                continue
            # So that the first labels are followed, and soon all places have a tree.
            lived = min(len(rows), (self.grown + 1) * self.period)
            self._grow(max(1, TREES * self.period // lived), rows, targets, weights, generator)

    def are_due(self, rows: int, is_hurried: bool) -> bool:
        """Whether trees are to be grown on a window of so many rows; the first ones are not waited with."""
        period = self.hurried_period if is_hurried else self.period
        return self.waiting > 0 and (self.waiting >= period or rows <= period)

    def _grow(self, count: int, rows: Tensor, targets: Tensor, weights: Tensor, generator: torch.Generator) -> None:
        """Grows so many trees on a window."""
        filled, features = rows.shape
        drawn = torch.rand(count, filled + (features if self.drawn < features else 0), generator=generator)
        is_regression = targets.is_floating_point()
        sketches = self._sketches(count, is_regression, generator)
        columns, values = (NO_COLUMNS, targets) if is_regression else (targets, NO_VALUES)
        grow(
            tuple(map(array_of, (rows, weights, columns, values))),
            is_regression,
            self.trees.arrays(),
            *map(array_of, (self.sums[:filled], self.importance)),
            self.grown,
            *map(array_of, (drawn, sketches)),
            self.drawn,
            self.bins,
            (self.rate, self.penalty, self.largest, self.min_leaf),
        )
        self.grown += count

    def _sketches(self, count: int, is_regression: bool, generator: torch.Generator) -> Tensor:
        """Which few sums each tree makes of the gradients of all outputs ``[count, outputs, sums]``."""
        outputs = len(self.trees.base)
        if outputs > self.sketch:
            return torch.randn(count, outputs, self.sketch, generator=generator)
        # Of two chances one tells of the other; two values tell nothing of one another.
        first = 1 if outputs == 2 and not is_regression else 0
        return torch.eye(outputs)[:, first:].repeat(count, 1, 1)

    def add_columns(self, count: int) -> None:
        """Makes room for ``count`` more columns, which the trees have already."""
        self.sums = self.sums[:, :0] if self.trees.is_silent else nn.functional.pad(self.sums, (0, count))

    def select(self, columns: Tensor, slots: Tensor) -> None:
        """Keeps some columns ``[columns]``, as the trees have done already, and rows of the window, in the first slots."""
        former, size = self.sums[slots], len(self.sums)
        self.sums = former.new_zeros(size, self.trees.values.shape[2])
        if former.shape[1]:
            self.sums[: len(slots)] = former[:, columns]

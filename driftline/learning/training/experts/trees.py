"""How boosted trees are grown from the newest rows, one after the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from driftline.learning.stateful import Stateful
from driftline.networks.experts.trees import DEPTH, LEAVES, NEVER, NODES, TREES, Trees
from driftline.networks.kernels.trees import leaves, split
from driftline.networks.kernels.views import rows_of

# How much a split of a node counts for the importance of its feature: a half of one a level above.
SHARES = torch.tensor([0.5 ** int(math.log2(node + 1)) for node in range(NODES)])


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
            targets: ``[filled]`` columns.
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
            for _ in range(max(1, TREES * self.period // lived)):
                self._grow(rows, targets, weights, generator)

    def are_due(self, rows: int, is_hurried: bool) -> bool:
        """Whether trees are to be grown on a window of so many rows; the first ones are not waited with."""
        period = self.hurried_period if is_hurried else self.period
        return self.waiting > 0 and (self.waiting >= period or rows <= period)

    def _grow(self, rows: Tensor, targets: Tensor, weights: Tensor, generator: torch.Generator) -> None:
        place, filled = self.grown % TREES, len(rows)
        self.grown += 1
        trees, sums = self.trees, self.sums[:filled]
        if self.grown > TREES:
            sums.sub_(trees.values[place][self._leaf_of(rows, place)])
        trees.base.copy_(self._base(targets, weights))
        gradient, curvature = self._errors(sums, targets)
        gradient.mul_(weights.unsqueeze(1))
        curvature.mul_(weights.unsqueeze(1))
        self._split(place, rows, gradient, weights, generator)
        leaves = self._leaf_of(rows, place)
        steps = gradient.new_zeros(LEAVES, gradient.shape[1]).index_add_(0, leaves, gradient)
        steps.div_(curvature.new_full(steps.shape, self.penalty).index_add_(0, leaves, curvature))
        trees.values[place] = steps.mul_(self.rate).clamp_(-self.largest, self.largest)
        sums.add_(trees.values[place][leaves])

    def _base(self, targets: Tensor, weights: Tensor) -> Tensor:
        """The logits of how frequent the classes of a window are."""
        counts = torch.bincount(targets, weights, len(self.trees.base)).float() + 1
        return (counts / counts.sum()).log_()

    def _errors(self, sums: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Less the gradient, and the curvature, of the loss at what the trees say of rows ``[rows, outputs]``."""
        chances = (sums + self.trees.base).softmax(1)
        curvature = chances * (1 - chances)
        own = targets.unsqueeze(1)
        return chances.neg_().scatter_add_(1, own, chances.new_ones(own.shape)), curvature

    def _leaf_of(self, rows: Tensor, place: int) -> Tensor:
        """The leaf of each row ``[rows]`` in one tree."""
        features, cuts, _, _ = self.trees.arrays()
        return torch.from_numpy(leaves(rows_of(rows), features, cuts, place))

    def _split(self, place: int, rows: Tensor, gradient: Tensor, weights: Tensor, generator: torch.Generator) -> None:
        """Finds the questions of the tree at ``place``, and which features they are of."""
        drawn = self._draw(generator)
        # Where there are few rows, most count; never the same ones.
        part = (torch.rand(len(rows), generator=generator) < 0.8).nonzero().flatten()
        # Of the first few rows none may have been drawn.
        part = part if part.numel() else torch.arange(len(rows))
        chosen = rows.index_select(0, part)
        values = rows_of(chosen if len(drawn) == rows.shape[1] else chosen.index_select(1, drawn))
        sketch = self._sketched(gradient[part], generator).double().contiguous().numpy()
        questions, found = split(values, sketch, weights[part].double().numpy(), self.bins, self.min_leaf, DEPTH)
        features, cuts = drawn[torch.from_numpy(questions)], torch.from_numpy(found)
        self.trees.features[:, place], self.trees.cuts[:, place] = features, cuts
        self.importance.mul_(0.97).index_add_(0, features, SHARES * (cuts < NEVER))

    def _draw(self, generator: torch.Generator) -> Tensor:
        """The features that a tree may ask for, drawn without replacement by their importance, and by as much for any."""
        features = len(self.importance)
        if self.drawn == features:
            return torch.arange(features)
        keys = (self.importance + self.importance.mean() + 1e-6).log_()
        noise = torch.rand(features, generator=generator).clamp_(min=1e-12).log_().neg_().log_()
        return keys.sub_(noise).topk(self.drawn).indices.sort().values

    def _sketched(self, gradient: Tensor, generator: torch.Generator) -> Tensor:
        """Few sums of the gradients of all outputs ``[rows, sums]``."""
        outputs = gradient.shape[1]
        if outputs == 2:
            return gradient[:, 1:]
        if outputs <= self.sketch:
            return gradient
        return gradient @ torch.randn(outputs, self.sketch, generator=generator)

    def add_columns(self, count: int) -> None:
        """Makes room for ``count`` more columns, which the trees have already."""
        self.sums = self.sums[:, :0] if self.trees.is_silent else nn.functional.pad(self.sums, (0, count))

    def select(self, columns: Tensor, slots: Tensor) -> None:
        """Keeps some columns ``[columns]``, as the trees have done already, and rows of the window, in the first slots."""
        former, size = self.sums[slots], len(self.sums)
        self.sums = former.new_zeros(size, self.trees.values.shape[2])
        if former.shape[1]:
            self.sums[: len(slots)] = former[:, columns]

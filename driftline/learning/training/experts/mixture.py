"""How a served mixture learns from labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.stateful import State
from driftline.learning.training.experts.bank import BankLearner
from driftline.learning.training.experts.ridge import NO_FACTORS, RidgeLearner
from driftline.learning.training.experts.trees import TreesLearner
from driftline.learning.training.experts.weights import WeightLearner
from driftline.learning.training.experts.window import WindowLearner
from driftline.networks.experts.labels import RAREST, RATE
from driftline.networks.experts.mixture import Mixture
from driftline.networks.kernels import step
from driftline.networks.kernels.views import array_of

# A ridge of more units is solved less often.
LARGE_UNITS = 500


class MixtureLearner(WindowLearner, WeightLearner):
    """What a mixture's learning keeps and its serving does not: the newest rows as they came, the ridge's sums, Adam's moments.

    It is a deterministic function of its state, the rows and the generator. Of a mixture that has learned elsewhere, as after
    a rollback, it takes up what can be seen in it: the newest rows, and sums that have the present heads as their solution.
    A class gets its column (:mod:`driftline.networks.experts.columns`) with the first label that is learned of it.

    Args:
        large_period: rows between two solutions of a large ridge; one of usual size is solved at each look at the encoding.
        hurried_period: rows between two solutions and two looks while labels pile up.
    """

    STATE = ("ridge",)
    DERIVED = ("_period", "_hurried_period")
    mixture: Mixture

    def __init__(self, mixture: Mixture, *, large_period: int = 128, hurried_period: int = 128) -> None:
        size = len(mixture.neighbours.rows)
        trees = None if mixture.trees is None else TreesLearner(mixture.trees, size, mixture.features)
        WeightLearner.__init__(self, mixture)
        WindowLearner.__init__(self, mixture, BankLearner(mixture.bank), trees)
        self.ridge = RidgeLearner(mixture.ridge)
        usual = self.period if len(mixture.ridge.phase) <= LARGE_UNITS else large_period
        # As many as ``period`` may come on top, and all of them must be in the window still.
        self._period = min(usual, size - self.period)
        self._hurried_period = min(max(usual, hurried_period), size - self.period)
        if mixture.neighbours.seen:
            self._recall()

    @property
    def learned(self) -> int:
        """How many rows were learned, those of classes that have gone among them."""
        return int(self.mixture.labels.learned)

    @torch.no_grad()
    def _recall(self) -> None:
        super()._recall()
        self.ridge.recall(self._encoded[: self.filled], int(self.mixture.neighbours.seen))

    def learn(
        self,
        rows: Tensor,
        targets: Tensor,
        weights: Tensor,
        generator: torch.Generator,
        is_hurried: bool = False,
        numbers: Tensor | None = None,
    ) -> None:
        """Teaches every member.

        Args:
            rows: ``[rows, features]``, or anything that flattens to it, as it arrived.
            targets: ``[rows]``, class indices.
            weights: ``[rows]``, how much each counts; one of weight 0 changes nothing.
            generator: what replay draws from.
            is_hurried: whether labels pile up: the bank then makes a quarter of its updates, or less, and the ridge is solved
                and the encoding follows less often.
            numbers: ``[rows]``, the log numbers of the rows, where they are known.
        """
        numbers = weights.new_zeros(len(rows), dtype=torch.int64) if numbers is None else numbers
        rows = rows.detach().flatten(1).float()
        if not array_of(weights).all():
            counts = weights > 0
            rows, targets, weights, numbers = rows[counts], targets[counts], weights[counts], numbers[counts]
        known = self.mixture.columns
        if not known.is_complete:
            self._see(known.new(targets))
        columns = known.of(targets)
        if not known.is_complete and known.is_full and bool((columns < 0).any()):
            has_column = columns >= 0
            rows, columns, weights, numbers = (each[has_column] for each in (rows, columns, weights, numbers))
        given = tuple(map(array_of, (rows, columns, weights, numbers)))
        for part in range(0, len(given[0]), self.period):
            self._learn(tuple(each[part : part + self.period] for each in given), is_hurried)
            self._train_bank(generator, is_hurried)
            self._grow_trees(generator, is_hurried)

    def _see(self, ids: Sequence[int]) -> None:
        """Gives classes a column, in the mixture and here."""
        if ids:
            self.mixture.see(ids)
            self.ridge.add_columns(len(ids))
            self.bank.add_columns(len(ids))
            if self.trees is not None:
                self.trees.add_columns(len(ids))

    def _exchange(self, slots: Tensor, ages: Tensor, targets: Tensor, weights: Tensor) -> None:
        known, neighbours = self.mixture.columns, self.mixture.neighbours
        if not known.is_complete:
            self._see(known.new(targets))
        columns = known.of(targets)
        # A class that there is no column for is learned by the network alone.
        columns, weights = columns.where(columns >= 0, neighbours.targets[slots]), weights.where(columns >= 0, 0.0)
        is_summed = ages >= self.unsolved
        summed = slots[is_summed]
        self.ridge.exchange(
            self._encoded[summed],
            ages[is_summed] - self.unsolved,
            (neighbours.targets[summed], self.weights[summed]),
            (columns[is_summed], weights[is_summed]),
        )
        neighbours.targets[slots], self.weights[slots] = columns, weights
        newest = neighbours.newest(self.unsolved)
        self.ridge.learn(self._encoded[newest], neighbours.targets[newest], self.weights[newest])
        self.unsolved = 0

    def _learn(self, new: tuple[NDArray[Any], ...], is_hurried: bool) -> None:
        """Takes rows in, of which kernels are given the rows, their columns, weights and log numbers."""
        mixture, unsolved, count = self.mixture, self.unsolved, len(new[0])
        self.unsolved += count
        self.untrained += count
        encoding, trees, ridge, _, neighbours, labels = mixture.arrays_of_members()
        seen = int(neighbours[3]) + count
        is_due = self.unsolved >= min(self._hurried_period if is_hurried else self._period, max(1, seen // 2))
        follows = self.ridge.follows and not is_due
        known, factors = self.ridge.following(unsolved, count) if follows else (0, NO_FACTORS)
        members = (neighbours, trees, labels, (RATE, RAREST), ridge, self.ridge.kept, self.ridge.scales, factors)
        step.learn(new, mixture.encoding.binned, encoding, *self._window(), *members, unsolved, known)
        if self.trees is not None:
            self.trees.waiting += count
        if is_due:
            self._follow()
            newest = mixture.neighbours.newest(self.unsolved)
            self.ridge.learn(self._encoded[newest], mixture.neighbours.targets[newest], self.weights[newest])
            self.unsolved = 0

    def reclass(self, indices: Sequence[int | None], classes: int) -> None:
        """Gives classes other indices, in the mixture and here (:meth:`Mixture.reclass`)."""
        neighbours = self.mixture.neighbours
        unsolved, untrained = (neighbours.newest(count) for count in (self.unsolved, self.untrained))
        kept = self.mixture.reclass(indices, classes)
        if kept is None:
            return
        columns, slots = kept
        self.unsolved, self.untrained = (int(torch.isin(slots, newest).sum()) for newest in (unsolved, untrained))
        self.ridge.select(columns)
        self.bank.select(columns)
        for own in (self.rows, self.weights, self.numbers):
            rows = own[slots]
            own.zero_()
            own[: len(slots)] = rows
        if self.trees is not None:
            self.trees.select(columns, slots)
        self._encode()

    def restored(self, name: str, state: State) -> Any:
        # Of a mixture that learned before there were trees, they begin with its window.
        if name == "trees" and self.trees is not None and "trees.sums" not in state.tensors:
            self.trees.recall(self.rows[: self.filled])
            return self.trees
        return super().restored(name, state)


@torch.no_grad()
def continued(former: MixtureLearner, mixture: Mixture) -> MixtureLearner:
    """The learner of a new ``mixture`` of the same rows with more fields: both go on as the former ones."""
    places, encoded, slots = mixture.continue_from(former.mixture)
    found = MixtureLearner(mixture)
    found.continue_window(former, places, encoded, slots)
    found.losses = former.losses.clone()
    found.ridge.load_state_dict(former.ridge.state_dict())
    return found

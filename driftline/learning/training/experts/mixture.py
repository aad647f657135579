"""How a served mixture learns from labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from driftline.learning.stateful import State
from driftline.learning.training.experts.bank import BankLearner
from driftline.learning.training.experts.ridge import RidgeLearner
from driftline.learning.training.experts.trees import TreesLearner
from driftline.learning.training.experts.weights import WeightLearner
from driftline.learning.training.experts.window import WELL_TAUGHT
from driftline.networks.experts.encoding import LARGEST
from driftline.networks.experts.mixture import Mixture

# A ridge of more units is solved less often.
LARGE_UNITS = 500


class MixtureLearner(WeightLearner):
    """What a mixture's learning keeps and its serving does not: the newest rows as they came, the ridge's sums, Adam's moments.

    It is a deterministic function of its state, the rows and the generator. Of a mixture that has learned elsewhere, as after
    a rollback, it takes up what can be seen in it: the newest rows, and sums that have the present heads as their solution.
    ``unsolved`` and ``untrained`` count the newest rows that the ridge and the bank have not learned yet. A class gets its
    column (:mod:`driftline.networks.experts.columns`) with the first label that is learned of it.

    Args:
        period: rows between two solutions of the ridge and two looks at the encoding, ``large_period`` for a large ridge; the
            first solutions come at 1, 2, 4, … rows.
        fresh: new rows of a gradient update of the bank, beside so many ``replayed`` ones.
        hurried: the same two while labels pile up, before and after ``WELL_TAUGHT`` rows.
        hurried_period: rows between two solutions and two looks while labels pile up.
    """

    STATE = ("rows", "weights", "unsolved", "untrained", "ridge", "bank", "trees")
    DERIVED = (
        *("period", "fresh", "replayed", "hurried"),
        *("_period", "_hurried_period", "_encoded", "_reaches"),
    )

    def __init__(
        self,
        mixture: Mixture,
        *,
        period: int = 32,
        large_period: int = 128,
        fresh: int = 2,
        replayed: int = 14,
        hurried: tuple[tuple[int, int], tuple[int, int]] = ((8, 14), (32, 28)),
        hurried_period: int = 128,
    ) -> None:
        super().__init__(mixture)
        self.period, self.replayed = period, replayed
        self.fresh, self.hurried = fresh, hurried
        self.ridge = RidgeLearner(mixture.ridge)
        self.bank = BankLearner(mixture.bank)
        size = len(mixture.neighbours.rows)
        self.trees = None if mixture.trees is None else TreesLearner(mixture.trees, size, mixture.features)
        self.rows = torch.zeros(size, mixture.features)
        self.weights = torch.zeros(size)
        self.unsolved = 0
        self.untrained = 0
        usual = period if len(mixture.ridge.phase) <= LARGE_UNITS else large_period
        # As many as ``period`` may come on top, and all of them must be in the window still.
        self._period = min(usual, size - period)
        self._hurried_period = min(max(usual, hurried_period), size - period)
        self._encoded = torch.zeros(size, mixture.encoding.width)
        self._reaches = torch.tensor([reach for _, reach in mixture.bank.kinds]).unsqueeze(1)
        if mixture.neighbours.seen:
            self._recall()

    @torch.no_grad()
    def _recall(self) -> None:
        """Makes state that fits a mixture which has learned already."""
        neighbours, encoding = self.mixture.neighbours, self.mixture.encoding
        seen = int(neighbours.seen)
        filled = min(seen, len(self.rows))
        self.rows[:filled] = neighbours.rows[:filled] / encoding.slope[0] + encoding.mean
        self.weights[:filled] = 1
        self._encode()
        self.ridge.recall(self._encoded[:filled], seen)
        if self.trees is not None:
            self.trees.recall(self.rows[:filled])

    @torch.no_grad()
    def learn(
        self,
        rows: Tensor,
        targets: Tensor,
        weights: Tensor,
        generator: torch.Generator,
        is_hurried: bool = False,
    ) -> None:
        """Teaches every member.

        Args:
            rows: ``[rows, features]``, or anything that flattens to it, as it arrived.
            targets: ``[rows]``, class indices.
            weights: ``[rows]``, how much each counts; one of weight 0 changes nothing.
            generator: what replay draws from.
            is_hurried: whether labels pile up: the bank then makes a quarter of its updates, or less, and the ridge is solved
                and the encoding follows less often.
        """
        rows = rows.reshape(len(rows), self.mixture.features).float()
        if not bool(weights.all()):
            rows, targets, weights = rows[weights > 0], targets[weights > 0], weights[weights > 0]
        known = self.mixture.columns
        if not known.is_complete:
            self._see(known.new(targets))
        columns = known.of(targets)
        if known.is_full and bool((columns < 0).any()):
            has_column = columns >= 0
            rows, columns, weights = rows[has_column], columns[has_column], weights[has_column]
        for part in range(0, len(rows), self.period):
            end = part + self.period
            self._learn(rows[part:end], columns[part:end], weights[part:end], is_hurried)
            is_taught = int(self.mixture.labels.learned) >= WELL_TAUGHT
            self._train_bank(generator, *(self.hurried[is_taught] if is_hurried else (self.fresh, self.replayed)))
            self._grow_trees(generator, is_hurried)

    def _see(self, ids: Sequence[int]) -> None:
        """Gives classes a column, in the mixture and here."""
        if ids:
            self.mixture.see(ids)
            self.ridge.add_columns(len(ids))
            self.bank.add_columns(len(ids))
            if self.trees is not None:
                self.trees.add_columns(len(ids))

    def _learn(self, rows: Tensor, columns: Tensor, weights: Tensor, is_hurried: bool) -> None:
        self._keep(rows, columns, weights)
        self.mixture.labels.follow(columns)
        seen = int(self.mixture.neighbours.seen)
        self.unsolved += len(rows)
        if self.unsolved >= min(self._hurried_period if is_hurried else self._period, max(1, seen // 2)):
            self._follow(seen)
            newest = self.mixture.neighbours.newest(self.unsolved)
            self.ridge.learn(self._encoded[newest], self.mixture.neighbours.targets[newest], self.weights[newest])
            self.unsolved = 0
        self.untrained += len(rows)

    def _keep(self, rows: Tensor, columns: Tensor, weights: Tensor) -> None:
        """Puts rows in the places of the oldest."""
        neighbours, features = self.mixture.neighbours, self.mixture.features
        start = int(neighbours.seen) % len(self.rows)
        here = min(len(rows), len(self.rows) - start)
        encoded = self.mixture.encoding(rows)
        neighbours.seen.add_(len(rows))
        whole, rest = (slice(start, start + here), slice(here)), (slice(len(rows) - here), slice(here, None))
        for slots, part in (whole, rest) if here < len(rows) else (whole,):
            self.rows[slots], self.weights[slots], self._encoded[slots] = rows[part], weights[part], encoded[part]
            neighbours.write(slots, encoded[part, :features])
            neighbours.targets[slots] = columns[part]
            if self.trees is not None:
                self.trees.keep(slots, rows[part])

    def _follow(self, seen: int) -> None:
        """Lets the encoding follow the newest rows, and encodes them again."""
        mixture, filled = self.mixture, min(seen, len(self.rows))
        mixture.encoding.observe(self.rows[:filled], int(mixture.labels.learned), self.unsolved)
        self._encode()
        mixture.neighbours.write(slice(None), self._encoded[:, : mixture.features])

    def carry(self, rows: Tensor, has_changed: Tensor) -> None:
        """Goes on with the newest rows ``[rows, features]`` in other units; which features have changed ``[features]``."""
        filled = min(int(self.mixture.neighbours.seen), len(self.rows))
        if not filled:
            return
        self.rows[:filled] = rows[:filled].clamp(-LARGEST, LARGEST)
        learned = int(self.mixture.labels.learned)
        self.mixture.encoding.observe(self.rows[:filled], learned, 0, has_changed)
        self._encode()
        self.mixture.neighbours.write(slice(None), self._encoded[:, : self.mixture.features])
        if self.trees is not None:
            self.trees.restart(self.rows[:filled])

    def _encode(self) -> None:
        self._encoded = self.mixture.encoding(self.rows)

    def _train_bank(self, generator: torch.Generator, fresh: int, replayed: int) -> None:
        """The updates of the bank that are due, each of so many new rows; the first rows are not waited with."""
        seen = int(self.mixture.neighbours.seen)
        while self.untrained >= fresh or (self.untrained and seen <= self.period):
            self._train(generator, fresh, replayed)

    def _grow_trees(self, generator: torch.Generator, is_hurried: bool) -> None:
        if self.trees is not None:
            filled = min(int(self.mixture.neighbours.seen), len(self.rows))
            targets = self.mixture.neighbours.targets[:filled]
            self.trees.learn(self.rows[:filled], targets, self.weights[:filled], generator, is_hurried)

    def _train(self, generator: torch.Generator, fresh: int, replayed: int) -> None:
        """One update of the bank: the oldest rows that it has not had, beside replayed ones."""
        fresh = min(fresh, self.untrained)
        new = self.mixture.neighbours.newest(fresh, self.untrained - fresh)
        self.untrained -= fresh
        neighbours, members = self.mixture.neighbours, self.mixture.bank.members
        seen, size = int(neighbours.seen), len(self.rows)
        filled = min(seen, size)
        reach = torch.where(self._reaches > 0, self._reaches.clamp(max=filled), filled)
        drawn = (torch.rand(members, replayed, generator=generator) * reach).long()
        slots = torch.cat([new.expand(members, -1), (seen - 1 - drawn).remainder_(size)], 1)
        self.bank.learn(self._encoded[slots], neighbours.targets[slots], self.weights[slots])

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
        for own in (self.rows, self.weights):
            rows = own[slots]
            own.zero_()
            own[: len(slots)] = rows
        if self.trees is not None:
            self.trees.select(columns, slots)
        self._encode()

    def load_state_dict(self, state: State) -> None:
        """Sets the state that :meth:`state_dict` gave. The mixture's own is loaded first."""
        super().load_state_dict(state)
        self._encode()

    def restored(self, name: str, state: State) -> Any:
        # Of a mixture that learned before there were trees, they begin with its window.
        if name == "trees" and self.trees is not None and "trees.sums" not in state.tensors:
            self.trees.recall(self.rows[: min(int(self.mixture.neighbours.seen), len(self.rows))])
            return self.trees
        return super().restored(name, state)


@torch.no_grad()
def continued(former: MixtureLearner, mixture: Mixture) -> MixtureLearner:
    """The learner of a new ``mixture`` of the same rows with more fields: both go on as the former ones."""
    places, encoded, slots = mixture.continue_from(former.mixture)
    found = MixtureLearner(mixture)
    found.rows[: len(slots), places], found.weights[: len(slots)] = former.rows[slots], former.weights[slots]
    found.losses = former.losses.clone()
    found.unsolved, found.untrained = (min(len(slots), count) for count in (former.unsolved, former.untrained))
    if found.trees is not None and former.trees is not None:
        found.trees.continue_from(former.trees, places, slots)
    found.ridge.load_state_dict(former.ridge.state_dict())
    found.bank.continue_from(former.bank, encoded)
    found._encode()
    return found

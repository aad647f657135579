"""Nearest neighbours among the newest rows, as an expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.networks.kernels.neighbours import answers, nearest
from driftline.networks.kernels.views import Viewed, array_of, rows_of

# How far a row as old as the window is moved away, in mean squared distances.
SHIFTS = (0.0, 0.1, 1.0, 10.0)
# Each: which of the shifts, and how many neighbours vote.
KINDS = ((0, 5), (1, 1), (1, 5), (2, 5))
SHORT_KINDS = ((2, 1), (3, 5))
# Numbers are averaged: more neighbours are less noise.
VALUE_KINDS = ((0, 1), (0, 5), (0, 15), (1, 5), (1, 15), (2, 5))
# Votes that are given evenly to all columns: the fewer neighbours vote, the less sure they are.
EVEN_VOTES = 0.25


class NewestRows(Viewed):
    """A ring of the newest rows with their targets, and who is nearest; to some members an older row is a farther one.

    On streams whose labels follow their predecessors, and after a sudden change, the near past is the best neighbour.
    ``seen`` counts the rows of the ring that were written.

    Args:
        targets: of all rows; zeros.
        kinds: of each member, which of the ``SHIFTS`` holds, and how many neighbours vote.
    """

    rows: Tensor
    norms: Tensor
    targets: Tensor
    seen: Tensor
    _votes: Tensor
    _shifts: Tensor
    _kinds: Tensor

    def __init__(self, features: int, targets: Tensor, kinds: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        size = len(targets)
        self.members = len(kinds)
        self.max_votes = max(votes for _, votes in kinds)
        self.register_buffer("rows", torch.zeros(size, features))
        self.register_buffer("norms", torch.zeros(size))
        self.register_buffer("targets", targets)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        votes = torch.tensor([[float(vote < most) for vote in range(self.max_votes)] for _, most in kinds])
        self.register_buffer("_votes", votes, persistent=False)
        self.register_buffer("_kinds", torch.tensor([shift for shift, _ in kinds]), persistent=False)
        # Twice the slots from the oldest to the newest: the shifts of a ring are a slice of it, wherever its newest row lies.
        ages = torch.arange(size - 1, -1, -1).repeat(2) / size
        shifts = torch.tensor(SHIFTS[: 1 + max(shift for shift, _ in kinds)]).unsqueeze(1) * ages
        self.register_buffer("_shifts", shifts, persistent=False)

    @property
    def filled(self) -> int:
        """How many rows there are to be near to."""
        rows, _, _, seen, *_ = self.arrays()
        return min(int(seen), len(rows))

    def nearest(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest rows to z-scores ``[batch, features]``, at least one row having been written.

        Returns:
            ``(weights, slots)``, each ``[batch, members, votes]``: the weights of a member sum to 1.
        """
        rows, norms, _, seen, shifts, kinds, votes = self.arrays()
        scores_of_rows, oldest = rows_of(scores), -int(seen) % len(rows)
        weights, slots = nearest(scores_of_rows, rows, norms, self.filled, oldest, shifts, kinds, votes)
        return torch.from_numpy(weights), torch.from_numpy(slots)

    def _viewed(self) -> tuple[NDArray[Any], ...]:
        """The rows with their norms, targets and count, and what says who is nearest, as kernels take them."""
        tensors = (self.rows, self.norms, self.targets, self.seen, self._shifts, self._kinds, self._votes)
        return tuple(map(array_of, tensors))

    def continue_from(self, former: NewestRows, places: Tensor) -> Tensor:
        """Goes on with the newest rows of one whose rows had fewer numbers, which stand at ``places`` now.

        Returns:
            The slots ``[rows]`` from which the rows in the first slots have come.
        """
        size, seen = len(self.rows), int(former.seen)
        is_as_large = size == len(former.rows)
        slots = torch.arange(min(seen, size)) if is_as_large else former.newest(min(seen, size))
        self.rows[: len(slots), places] = former.rows[slots]
        self.norms[: len(slots)], self.targets[: len(slots)] = former.norms[slots], former.targets[slots]
        self.seen.fill_(seen if is_as_large else len(slots))
        return slots

    def newest(self, count: int, start: int = 0) -> Tensor:
        """The slots of ``count`` rows, oldest first, that begin ``start`` rows before the newest ``count``."""
        rows, _, _, seen, *_ = self.arrays()
        end = int(seen) - start
        # A small array takes numpy a fraction of the time that it takes torch.
        return torch.from_numpy(np.arange(end - count, end) % len(rows))


class Neighbours(NewestRows):
    """Votes of the nearest of the newest rows for their classes, by inverse distance. ``targets`` are columns."""

    _even: Tensor

    def __init__(self, features: int, size: int, has_short: bool = False) -> None:
        super().__init__(features, torch.zeros(size, dtype=torch.int64), KINDS + SHORT_KINDS * has_short)
        self.columns = 0
        self.register_buffer("_even", EVEN_VOTES / self._votes.sum(1, keepdim=True), persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        """Z-scores ``[batch, features]`` → log-probabilities ``[members, batch, columns]``."""
        return torch.from_numpy(answers(rows_of(scores), self.arrays(), self.columns)).transpose(0, 1)

    def _viewed(self) -> tuple[NDArray[Any], ...]:
        return *super()._viewed(), array_of(self._even).reshape(-1)

    def add_columns(self, count: int) -> None:
        self.columns += count

    def select(self, columns: Tensor) -> Tensor:
        """Keeps some columns ``[columns]``, in this order, and the rows of these alone, from the first slot on.

        Returns:
            The slots ``[rows]`` from which the rows in the first slots have come. Where rows went, the oldest is first.
        """
        place = torch.full((self.columns,), -1)
        place[columns] = torch.arange(len(columns))
        self.columns = len(columns)
        slots = self.newest(min(int(self.seen), len(self.rows)))
        kept = slots[place[self.targets[slots]] >= 0]
        if len(kept) == len(slots):
            self.targets[slots] = place[self.targets[slots]]
            return slots.sort().values
        rows, norms, targets = self.rows[kept], self.norms[kept], place[self.targets[kept]]
        for own, value in ((self.rows, rows), (self.norms, norms), (self.targets, targets)):
            own.zero_()
            own[: len(kept)] = value
        self.seen.fill_(len(kept))
        return kept


class ValueNeighbours(NewestRows):
    """Means of the values of the nearest of the newest rows, by inverse distance. ``targets`` are ``[rows, outputs]``."""

    def __init__(self, features: int, size: int, outputs: int) -> None:
        super().__init__(features, torch.zeros(size, outputs), VALUE_KINDS)

    def forward(self, scores: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Z-scores ``[batch, features]`` → values ``[members, batch, outputs]``, of targets clipped to ``low`` and ``high``."""
        if not self.filled:
            return scores.new_full((self.members, len(scores), self.targets.shape[1]), torch.nan)
        weights, slots = self.nearest(scores)
        values = self.targets[slots].clamp(low.float(), high.float())
        return torch.matmul(weights.unsqueeze(2), values).squeeze(2).transpose(0, 1)

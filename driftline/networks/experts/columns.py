"""Which classes a mixture has columns for.

A class is known by its *id*: the index of its output in the network. The members of a mixture hold a column only for classes of
which a label has been learned, in the order of first sight; :attr:`ClassColumns.seen` is the one buffer that maps columns to
outputs. So what a mixture costs grows with the classes that were seen, whatever number of them is declared, and

- a new class is a new column behind the others: no state of another class moves;
- to lose a class is a selection of columns (:meth:`ClassColumns.reclass`): what was learned of the others stays;
- the order of the ids means nothing to what is learned: ids that are permuted give permuted answers.

As long as some classes have not been seen, all of these together are one column more, *any other class*, in front. Its
probability is mixed like that of a class: the network says its own mass of them, and each other member how often a label has
been the first of its class. What of it goes to each unseen class, the network alone says. The whole is a distribution over all
classes.

There are ``max_columns`` columns at most: of classes that come after so many, the network alone speaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

MAX_COLUMNS = 4096

# What tells the columns of a trace apart (:mod:`driftline.networks.experts.traces`). float16 is exact on integers up to 2,048:
# the tags of ids that are not equal modulo 1,008 differ, and so do those with a mark.
OTHER_TAG = 8
FIRST_TAG, TAGS, NEWEST_TAG = 16, 1008, 1024


class ClassColumns(nn.Module):
    """The columns of a mixture, by the ids of their classes.

    Args:
        classes: how many classes are answered; may be none yet.
        max_columns: how many of them have a column at most.
    """

    seen: Tensor
    tags: Tensor
    _column_of: Tensor
    _marked: Tensor

    def __init__(self, classes: int, max_columns: int = MAX_COLUMNS) -> None:
        super().__init__()
        self.classes = classes
        self.max_columns = max_columns
        self.register_buffer("seen", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("tags", torch.zeros(0), persistent=False)
        self.register_buffer("_marked", torch.zeros(0), persistent=False)
        self.register_buffer("_column_of", torch.zeros(0, dtype=torch.int64), persistent=False)
        self._index()

    def _index(self) -> None:
        """Makes what follows from ``seen`` and ``classes``."""
        count = self.count = len(self.seen)
        self._column_of = torch.full((self.classes,), -1)
        self._column_of[self.seen] = torch.arange(count)
        self.is_complete = count == self.classes
        self._is_in_order = self.is_complete and torch.equal(self.seen, torch.arange(count))
        tags = self.seen % TAGS + FIRST_TAG
        self._newest = -1
        self._marked = self.tags = nn.functional.pad(tags, (self.width - count, 0), value=OTHER_TAG).float()

    @property
    def width(self) -> int:
        """Columns of a trace: one for each class seen, and one in front for any other while there are some."""
        return self.count + (not self.is_complete)

    def marked(self, newest: int) -> Tensor:
        """The ``tags`` with ``NEWEST_TAG`` added to that of the column ``newest``; -1 is none of them."""
        # As long as nothing is learned it is the same: to mark it for each answer would cost as much as a small member.
        if newest != self._newest:
            marked = self.tags.clone()
            if newest >= 0:
                marked[newest - self.count].add_(NEWEST_TAG)
            self._marked, self._newest = marked, newest
        return self._marked

    @property
    def is_full(self) -> bool:
        """Whether no further class gets a column."""
        return self.count >= self.max_columns

    def of(self, ids: Tensor) -> Tensor:
        """The columns of classes by their ids ``[rows]``; -1 where a class has none."""
        return ids if self._is_in_order else self._column_of.index_select(0, ids)

    def new(self, ids: Tensor) -> list[int]:
        """Those of the ids ``[rows]`` that are to get a column, in the order of first sight."""
        if self.is_complete:
            return []
        unseen = ids[self._column_of[ids] < 0].tolist()
        return list(dict.fromkeys(unseen))[: max(0, self.max_columns - self.count)]

    def set(self, seen: Tensor) -> None:
        """Makes these ids ``[columns]`` the ones that have a column."""
        self.seen = seen.clone()
        self._index()

    def add_classes(self, count: int) -> None:
        """Answers more classes, of which nothing was seen."""
        self.classes += count
        self._index()

    def reclass(self, indices: Sequence[int | None], classes: int) -> Tensor:
        """Gives classes other ids (:func:`driftline.classes.class_indices`); the columns that stay ``[columns]``, in order.

        Args:
            indices: of each former id the new one; None where the class is gone.
            classes: how many there are now.
        """
        moved = torch.tensor([-1 if index is None else index for index in indices], dtype=torch.int64)[self.seen]
        kept = (moved >= 0).nonzero().flatten()
        self.classes = classes
        self.set(moved[kept])
        return kept

    def narrowed(self, network: Tensor) -> Tensor:
        """The network's log-probabilities ``[batch, classes]`` → ``[batch, width]``, those of unseen classes summed up."""
        own = network if self._is_in_order else network.index_select(1, self.seen)
        if self.is_complete:
            return own
        return torch.cat([self._unseen(network).logsumexp(1, keepdim=True), own], 1)

    def widened(self, mixed: Tensor, network: Tensor | None) -> Tensor:
        """Logits ``[batch, width]`` → ``[batch, classes]``; without a network all unseen classes are alike."""
        if self.is_complete:
            return mixed if self._is_in_order else mixed.index_select(1, self._column_of)
        other = mixed[:, :1]
        if network is None:
            found = (other - math.log(self.classes - self.count)).repeat(1, self.classes)
        else:
            found = self._unseen(network).log_softmax(1).add_(other)
        return found.index_copy_(1, self.seen, mixed[:, 1:])

    def _unseen(self, network: Tensor) -> Tensor:
        return network.index_fill(1, self.seen, -torch.inf)

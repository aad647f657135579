"""Which classes a mixture has columns for.

A class is known by its *id*: the index of its output in the network. The members of a mixture hold a column only for classes of
which a label has been learned, in the order of first sight; :attr:`ClassColumns.seen` is the one buffer that maps columns to
outputs. So what a mixture costs grows with the classes that were seen, whatever number of them is declared, and

- a new class is a new column behind the others: no state of another class moves;
- to lose a class is a selection of columns (:meth:`ClassColumns.reclass`): what was learned of the others stays;
- the order of the ids means nothing to what is learned: ids that are permuted give permuted answers.

As long as some classes have not been seen, all of these together are one column more, *any other class*, in front. Its
probability is mixed like that of a class: the network says its own mass of them, and each other member how likely a first label
of a class is after so many labels of so many classes. What of it goes to each unseen class, the network alone says. So the
whole is a distribution over all classes.

There are ``max_columns`` columns at most: of classes that come after so many, the network alone speaks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from driftline.networks.kernels import mixture as kernels

MAX_COLUMNS = 4096

# What tells the columns of a trace apart (:mod:`driftline.networks.experts.traces`). float16 is exact on integers up to 2,048:
# the tags of ids that are not equal modulo 1,008 differ, and so do those with a mark.
OTHER_TAG = 8
FIRST_TAG, TAGS, NEWEST_TAG = 16, 1008, int(kernels.NEWEST_TAG)


class ClassColumns(nn.Module):
    """The columns of a mixture, by the ids of their classes.

    ``class_tags`` are the ``tags`` of the classes that were seen, as the float16 numbers that a recorded trace has.

    Args:
        classes: how many classes are answered; may be none yet.
        max_columns: how many of them have a column at most.
    """

    seen: Tensor
    tags: Tensor
    has_column: Tensor
    _place: Tensor
    _mask: Tensor
    _first_unseen: Tensor

    def __init__(self, classes: int, max_columns: int = MAX_COLUMNS) -> None:
        super().__init__()
        self.classes = classes
        self.max_columns = max_columns
        self.register_buffer("seen", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("tags", torch.zeros(0), persistent=False)
        for name in ("_place", "_mask", "has_column", "_first_unseen"):
            self.register_buffer(name, torch.zeros(0), persistent=False)
        self._index()

    def _index(self) -> None:
        """Makes what follows from ``seen`` and ``classes``."""
        count = self.count = len(self.seen)
        self.is_complete = count == self.classes
        others = self.width - count
        self._place = torch.zeros(self.classes, dtype=torch.int64)
        self._place[self.seen] = torch.arange(count) + others
        self._is_in_order = self.is_complete and torch.equal(self.seen, torch.arange(count))
        self.has_column = torch.zeros(self.classes, dtype=torch.bool)
        self.has_column[self.seen] = True
        self._mask = torch.zeros(self.classes).masked_fill_(self.has_column, -torch.inf)
        self._first_unseen = self.has_column.int().argmin().reshape(1) if others else torch.zeros(0, dtype=torch.int64)
        tags = self.seen % TAGS + FIRST_TAG
        self.class_tags = tags.half().numpy().tobytes()
        self.tags = nn.functional.pad(tags, (others, 0), value=OTHER_TAG).float()

    @property
    def width(self) -> int:
        """Columns of a trace: one for each class seen, and one in front for any other while there are some."""
        return self.count + (not self.is_complete)

    def marked(self, newest: int) -> Tensor:
        """The ``tags`` with ``NEWEST_TAG`` added to that of the column ``newest``; -1 is none of them."""
        marked = self.tags.clone()
        if newest >= 0:
            marked[newest - self.count].add_(NEWEST_TAG)
        return marked

    @property
    def is_full(self) -> bool:
        """Whether no further class gets a column."""
        return self.count >= self.max_columns

    def of(self, ids: Tensor) -> Tensor:
        """The columns of classes by their ids ``[rows]``; -1 where a class has none."""
        if self._is_in_order:
            return ids
        places = self._place.index_select(0, ids)
        return places if self.is_complete else places - 1

    def new(self, ids: Tensor) -> list[int]:
        """Those of the ids ``[rows]`` that are to get a column, in the order of first sight."""
        if self.is_complete:
            return []
        unseen = ids[~self.has_column[ids]].tolist()
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
        """Gives classes other ids; the columns that stay ``[columns]``, in order.

        Args:
            indices: of each former id the new one; None where the class is gone (:func:`driftline.spec.classes.class_indices`).
            classes: how many there are now.
        """
        moved = torch.tensor([-1 if index is None else index for index in indices], dtype=torch.int64)[self.seen]
        kept = (moved >= 0).nonzero().flatten()
        self.classes = classes
        self.set(moved[kept])
        return kept

    def novelty(self, learned: int) -> float:
        """How likely a label is of a class without a column, to members that speak of their own columns alone.

        Relative to that it is of a class with one: S / n after n labels of S classes (method C of Witten & Bell 1991), but no
        more than by the rule of succession, in which each class counts as one label.
        """
        learned = max(1, self.count, learned)
        return min(max(1, self.count) / learned, (self.classes - self.count) / (learned + self.count))

    def narrowed(self, network: Tensor) -> Tensor:
        """The network's log-probabilities ``[batch, classes]`` → ``[batch, columns]`` of the classes that have one."""
        return network if self._is_in_order else network.index_select(1, self.seen)

    def widened(self, mixed: Tensor, shares: Tensor | None = None) -> Tensor:
        """Logits ``[batch, width]`` → ``[batch, classes]``; classes without a column share what any other class has."""
        if shares is None:
            return mixed if self._is_in_order else mixed.index_select(1, self._place)
        found = mixed.index_select(1, self._place)
        return torch.where(self.has_column, found, found + shares)

    def unseen(self, network: Tensor) -> tuple[Tensor, Tensor]:
        """Of the network's log-probabilities ``[batch, classes]``, the part that concerns classes without a column.

        Returns:
            How these share what they have in all, as log-probabilities ``[batch, classes]``, -inf for the others; and how much
            that is ``[batch, 1]``.
        """
        shares = (network + self._mask).log_softmax(1)
        return shares, (network - shares).index_select(1, self._first_unseen)

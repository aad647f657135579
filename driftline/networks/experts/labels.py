"""What the labels alone say, as experts: the one that follows the newest, and how frequent each is now."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from driftline.networks.kernels import labels as kernels
from driftline.networks.kernels.views import Viewed, array_of

KEPT = 0.999
RATE = 0.02
RAREST = 1e-4
RARE = 0.1
PRIOR = 0.5
MAX_SUCCESSORS = 64


class Labels(Viewed):
    """A Markov chain from the newest known label to the one asked for, and a running frequency of labels.

    ``counts[i, j]``: how often, lately, a row had the label of column j that was asked for while that of column i was the
    newest known. Beyond ``max_successors`` columns it is *sparse*: ``counts[i]`` is of so many successors only, those of the
    columns ``successors[i]``, and ``rest[i]`` is spread over all columns evenly. Where another successor comes, the least
    counted goes into the rest. (Up to so many columns the latter two are empty.)
    """

    counts: Tensor
    successors: Tensor
    rest: Tensor
    frequencies: Tensor
    newest: Tensor
    learned: Tensor

    def __init__(self, max_successors: int = MAX_SUCCESSORS) -> None:
        super().__init__()
        self.max_successors = max_successors
        self.register_buffer("counts", torch.zeros(0, 0))
        self.register_buffer("successors", torch.zeros(0, 0, dtype=torch.int64))
        self.register_buffer("rest", torch.zeros(0))
        self.register_buffer("frequencies", torch.zeros(0))
        self.register_buffer("newest", torch.full((), -1, dtype=torch.int64))
        self.register_buffer("learned", torch.zeros((), dtype=torch.int64))

    @property
    def members(self) -> int:
        return 2

    def forward(self, batch: int, newest: int) -> Tensor:
        """Log-probabilities ``[members, batch, columns]``; ``newest`` is the column of the newest label known, or -1."""
        return torch.from_numpy(kernels.answers(*self.arrays()[:4], newest)).unsqueeze(1).expand(-1, batch, -1)

    def _viewed(self) -> tuple[NDArray[Any], ...]:
        tensors = (self.counts, self.successors, self.rest, self.frequencies, self.newest, self.learned)
        return tuple(map(array_of, tensors))

    @property
    def has_rare(self) -> bool:
        """Whether there is one that is :attr:`rare`."""
        frequencies = self.arrays()[3]
        return bool(len(frequencies)) and bool(frequencies.min() < RARE / len(frequencies))

    @property
    def rare(self) -> Tensor:
        """Whether the class of each column ``[columns]`` has of late been far below its even share: it belongs to the past."""
        return self.frequencies < RARE / max(len(self.frequencies), 1)

    def add_columns(self, count: int, classes: int) -> None:
        """Makes room for ``count`` more columns. Each of all ``classes`` had its even share when nothing was learned."""
        columns = len(self.frequencies) + count
        share = max((1 - RATE) ** int(self.learned) / classes, RAREST)
        self.frequencies = torch.cat([self.frequencies, torch.full((count,), share)])
        if columns <= self.max_successors:
            even = PRIOR / min(classes, self.max_successors)
            self.counts = pad(self.counts, (0, count, 0, count), value=even)
            return
        if not len(self.rest):
            self.counts, self.successors, self.rest = sparse(self.counts, self.max_successors)
        new = columns - len(self.rest)
        first = torch.arange(self.max_successors).repeat(new, 1)
        self.counts = pad(self.counts, (0, 0, 0, new))
        self.successors = torch.cat([self.successors, first])
        self.rest = pad(self.rest, (0, new), value=PRIOR)

    def select(self, columns: Tensor) -> None:
        """Keeps some columns ``[columns]``, in this order, as if there had never been others."""
        place = torch.full((len(self.frequencies),), -1)
        place[columns] = torch.arange(len(columns))
        if len(self.rest):
            self._select_successors(columns, place)
        else:
            self.counts = self.counts[columns][:, columns].contiguous()
        self.frequencies = self.frequencies[columns]
        if self.newest >= 0:
            self.newest.copy_(place[self.newest])

    def _select_successors(self, columns: Tensor, place: Tensor) -> None:
        count, rest = len(columns), self.rest[columns]
        counts, successors = self.counts[columns], place[self.successors[columns]]
        counts = counts.where(successors >= 0, 0)
        successors.clamp_(min=0)
        if count <= self.max_successors:
            even = (rest / max(count, 1)).unsqueeze(1).repeat(1, count)
            counts, successors, rest = even.scatter_add_(1, successors, counts), successors[:0, :0], rest[:0]
        self.counts, self.successors, self.rest = counts, successors, rest


def sparse(counts: Tensor, max_successors: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts ``[columns, columns]`` as those of the most frequent successors, these successors, and the rest ``[columns]``."""
    columns = len(counts)
    even = counts.amin(1, keepdim=True) if columns else counts.new_zeros(0, 1)
    above = counts - even
    largest, successors = above.topk(min(columns, max_successors), dim=1)
    rest = even.squeeze(1) * columns + (above.sum(1) - largest.sum(1)).clamp(min=0)
    free = (0, max_successors - largest.shape[1])
    return pad(largest, free), pad(successors, free), rest

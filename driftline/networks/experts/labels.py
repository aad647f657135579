"""What the labels alone say, as experts: the one that follows the newest, and how frequent each is now."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KEPT = 0.999
RATE = 0.02
RAREST = 1e-4
RARE = 0.1
PRIOR = 0.5


class Labels(nn.Module):
    """A Markov chain from the newest known label to the one asked for, and a running frequency of labels.

    ``counts[i, j]``: how often, lately, a row had label j that was asked for while i was the newest label known.
    """

    counts: Tensor
    frequencies: Tensor
    newest: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.full((classes, classes), PRIOR / max(classes, 1)))
        self.register_buffer("frequencies", torch.full((classes,), 1 / max(classes, 1)))
        self.register_buffer("newest", torch.full((), -1, dtype=torch.int64))

    @property
    def members(self) -> int:
        return 2

    def forward(self, batch: int, in_order: bool = True) -> tuple[Tensor, Tensor]:
        """Log-probabilities ``[members, batch, classes]``; and the newest label ``[classes]``: 0 there, ``-inf`` elsewhere.

        Out of order rows have no newest label.
        """
        newest = int(self.newest) if in_order else -1
        known = torch.full_like(self.frequencies, -torch.inf)
        follows = self.frequencies
        if newest >= 0:
            known[newest] = 0
            follows = self.counts[newest]
        both = torch.stack([follows, self.frequencies])
        both.div_(both.sum(1, keepdim=True)).log_()
        return both.unsqueeze(1).expand(-1, batch, -1), known

    @property
    def rare(self) -> Tensor:
        """Whether each class ``[classes]`` has of late been far below its even share: it belongs to the past."""
        return self.frequencies < RARE / len(self.frequencies)

    @torch.no_grad()
    def follow(self, targets: Tensor) -> None:
        """Takes labels ``[rows]`` in, in their order."""
        rows = len(targets)
        shares = torch.tensor([RATE * (1 - RATE) ** age for age in range(rows - 1, -1, -1)])
        self.frequencies.mul_((1 - RATE) ** rows).index_add_(0, targets, shares).clamp_(min=RAREST)
        self.newest.copy_(targets[-1])

    @torch.no_grad()
    def count(self, before: int, after: int) -> None:
        """Counts one transition."""
        row = self.counts[before].mul_(KEPT)
        row[after].add_(1)

    def add_classes(self, count: int) -> None:
        if not count:
            return
        before = len(self.frequencies)
        classes = before + count
        counts = torch.full((classes, classes), PRIOR / classes)
        counts[:before, :before] = self.counts
        self.counts = counts
        rare = self.frequencies.new_full((count,), RAREST if before else 1 / classes)
        self.frequencies = torch.cat([self.frequencies, rare])

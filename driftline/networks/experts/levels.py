"""What the last labels alone say of a number, as experts: the last one, and running means."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RATES = (0.3, 0.05, 0.005)
"""How much a label counts in each mean; the first ones count more."""
LAGS = 4
"""So many of the last labels are told with each answer, the newest first."""


class Levels(nn.Module):
    """The last labels ``[LAGS, outputs]``, the newest first, and running means ``[means, outputs]``; float64.

    What is not known is NaN: before so many labels have come, and where rows are asked about that are from some time before.
    Then only the slowest mean says anything.
    """

    last: Tensor
    means: Tensor
    seen: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(LAGS, outputs, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(len(RATES), outputs, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @property
    def members(self) -> int:
        return 1 + len(RATES)

    def forward(self, in_order: bool) -> tuple[Tensor, Tensor]:
        """What the members answer to any row ``[members, outputs]``; and the last labels ``[LAGS, outputs]``."""
        seen = int(self.seen)
        lags, answers = self.last.clone(), torch.cat([self.last[:1], self.means])
        lags[seen:] = torch.nan
        if not seen:
            answers.fill_(torch.nan)
        if not in_order:
            lags.fill_(torch.nan)
            answers[:-1] = torch.nan
        return answers, lags

    @torch.no_grad()
    def follow(self, labels: Tensor) -> None:
        """Takes labels ``[rows, outputs]`` in, in their order."""
        labels, first = labels.double(), int(self.seen) + 1
        counts = torch.arange(first, first + len(labels), dtype=torch.float64)
        # Until a mean is of as many labels as its rate takes, each counts alike.
        rates = torch.maximum(torch.tensor(RATES, dtype=torch.float64), 1 / counts.unsqueeze(1)).unsqueeze(2)
        for label, rate in zip(labels, rates, strict=True):
            self.means.lerp_(label.expand_as(self.means), rate)
        self.seen.add_(len(labels))
        both = torch.cat([labels.flip(0), self.last])
        self.last.copy_(both[:LAGS])

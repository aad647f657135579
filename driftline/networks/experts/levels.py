"""What the last labels alone say of a number, as experts: the last one, and running means."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.networks.kernels import levels as kernels
from driftline.networks.kernels.levels import LAGS
from driftline.networks.kernels.views import Viewed, array_of

RATES = (0.3, 0.05, 0.005)
"""How much a label counts in each mean; the first ones count more."""
_RATES = np.array(RATES)


class Levels(Viewed):
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
        answers, lags = kernels.told(self.arrays(), in_order)
        return torch.from_numpy(answers), torch.from_numpy(lags)

    def _viewed(self) -> tuple[NDArray[Any], ...]:
        """Last labels, means and count, as kernels take them."""
        return array_of(self.last), array_of(self.means), array_of(self.seen)

    @torch.no_grad()
    def follow(self, labels: Tensor) -> None:
        """Takes labels ``[rows, outputs]`` in, in their order."""
        kernels.follow(array_of(labels.double().contiguous()), self.arrays(), _RATES)

"""A bank of small networks in one batched product, as an expert."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.kernels.bank import values
from driftline.networks.kernels.views import Viewed, array_of, rows_of

# Learning rate of each network, and from how many of the newest rows it replays (0: from all that are kept).
KINDS = ((1e-3, 0), (3e-3, 0), (1e-2, 0), (3e-3, 200))
SHORT_KINDS = ((1e-2, 200), (3e-3, 60), (1e-2, 60))
HIDDEN = 64


class Bank(Viewed):
    """Networks of one hidden layer that learn at different speeds and replay different pasts. Untrained they answer evenly.

    A column begins at zero: what a class is like is learned from its labels alone, whichever comes first.
    """

    hidden: Tensor
    hidden_bias: Tensor
    output: Tensor
    output_bias: Tensor
    is_trained: Tensor

    def __init__(self, width: int, generator: torch.Generator, has_short: bool = False) -> None:
        super().__init__()
        self.kinds = KINDS + SHORT_KINDS * has_short
        self.members = count = len(self.kinds)
        hidden = torch.randn(count, width, HIDDEN, generator=generator) * math.sqrt(2 / width)
        self.register_buffer("hidden", hidden)
        self.register_buffer("hidden_bias", torch.zeros(count, 1, HIDDEN))
        self.register_buffer("output", torch.zeros(count, HIDDEN, 0))
        self.register_buffer("output_bias", torch.zeros(count, 1, 0))
        self.register_buffer("is_trained", torch.zeros(()))

    def values(self, encoded: Tensor) -> Tensor:
        """The outputs ``[members, batch, columns]`` for rows ``[batch, width]``; 0 while it is untrained."""
        return torch.from_numpy(values(rows_of(encoded), *self.arrays()))

    def forward(self, encoded: Tensor) -> Tensor:
        """Log-probabilities ``[members, batch, columns]``."""
        return self.values(encoded).log_softmax(2)

    def _viewed(self) -> tuple[NDArray[np.float32], ...]:
        """The tensors of the networks and ``is_trained``, as kernels take them."""
        tensors = (self.hidden, self.hidden_bias, self.output, self.output_bias, self.is_trained)
        return tuple(map(array_of, tensors))

    def continue_from(self, former: Bank, encoded: Tensor) -> None:
        """Goes on as one of rows with fewer encoded numbers, which stand at ``encoded`` now; no other has a weight yet."""
        self.hidden.zero_()
        self.hidden[:, encoded] = former.hidden
        for name in ("hidden_bias", "output", "output_bias", "is_trained"):
            setattr(self, name, getattr(former, name).clone())

    def add_columns(self, count: int) -> None:
        self.output = nn.functional.pad(self.output, (0, count))
        self.output_bias = nn.functional.pad(self.output_bias, (0, count))

    def select(self, columns: Tensor) -> None:
        self.output = self.output[:, :, columns].contiguous()
        self.output_bias = self.output_bias[:, :, columns].contiguous()

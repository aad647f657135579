"""A bank of small networks in one batched product, as an expert."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Learning rate of each network, and from how many of the newest rows it replays (0: from all that are kept).
KINDS = ((1e-3, 0), (3e-3, 0), (1e-2, 0), (3e-3, 200))
SHORT_KINDS = ((1e-2, 200), (3e-3, 60), (1e-2, 60))
HIDDEN = 64


class Bank(nn.Module):
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

    def activate(self, encoded: Tensor) -> Tensor:
        """``[batch, width]``, or ``[members, batch, width]`` → the hidden layer ``[members, batch, HIDDEN]``."""
        return torch.matmul(encoded, self.hidden).add_(self.hidden_bias).relu_()

    def logits(self, activations: Tensor) -> Tensor:
        """The hidden layer → ``[members, batch, columns]``."""
        return torch.baddbmm(self.output_bias, activations, self.output)

    def values(self, encoded: Tensor) -> Tensor:
        """The outputs ``[members, batch, columns]``; 0 while it is untrained."""
        return self.logits(self.activate(encoded)).mul_(self.is_trained)

    def forward(self, encoded: Tensor) -> Tensor:
        """Log-probabilities ``[members, batch, columns]``."""
        return self.values(encoded).log_softmax(2)

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
        self.output, self.output_bias = self.output[:, :, columns], self.output_bias[:, :, columns]

"""A network with every kind of layer whose adapter PEFT has a form for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

try:
    from transformers.pytorch_utils import Conv1D  # type: ignore[import-not-found, unused-ignore]
except ImportError:

    class Conv1D(nn.Module):  # type: ignore[no-redef, unused-ignore]
        """As Transformers have it: a linear layer whose weight lies the other way."""

        def __init__(self, nf: int, nx: int) -> None:
            super().__init__()
            self.nf, self.nx = nf, nx
            self.weight, self.bias = nn.Parameter(torch.randn(nx, nf) * 0.02), nn.Parameter(torch.zeros(nf))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight + self.bias


class EveryLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 8)
        self.turned = Conv1D(7, 8)
        self.convolution = nn.Conv1d(7, 5, 3)
        self.last = nn.Linear(20, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.turned(self.words(inputs)).transpose(1, 2)
        found: Tensor = self.last(torch.tanh(self.convolution(hidden)).flatten(1))
        return found


def every_layer() -> nn.Module:
    return EveryLayer()

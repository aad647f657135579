"""A network that raises as its weights say: in evaluation, on eight rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fragile(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.fails = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training and len(inputs) == 8 and self.fails.item() > 0:
            if self.kind == "exit":
                raise SystemExit("a network that ends the process")
            raise ValueError("eight rows are too many")
        return inputs


def network(kind: str = "error") -> Fragile:
    return Fragile(kind)

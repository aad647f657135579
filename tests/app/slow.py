"""A network that takes its time."""

from __future__ import annotations

import time

from torch import Tensor, nn


class Slow(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.rows: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        time.sleep(self.seconds)
        self.rows.append(len(inputs))
        return inputs


def network(seconds: float) -> Slow:
    return Slow(seconds)

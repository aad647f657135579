"""Networks of a user's own, as tests name them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn


class Narrow(nn.Module):
    """Fails for a batch of more than ``most`` rows."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.linear = nn.Linear(8, 8)

    def forward(self, rows: Tensor) -> Tensor:
        self.check(len(rows))
        found: Tensor = self.linear(rows).relu()
        return found

    def check(self, rows: int) -> None:
        if rows > self.most:
            raise ValueError(f"{rows} rows are more than {self.most}\nraised here")


def narrow(most: int) -> nn.Module:
    return Narrow(most)


class Bounded(nn.Module):
    """Fails once one of its weights is larger than ``most``."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.linear = nn.Linear(8, 8)

    def forward(self, rows: Tensor) -> Tensor:
        largest = float(self.linear.weight.detach().abs().max())
        if largest > self.most:
            raise ValueError("a weight is too large")
        found: Tensor = self.linear(rows)
        return found


def bounded(most: float) -> nn.Module:
    return Bounded(most)


class Moody(nn.Module):
    """Fails, once it was trained, in the modes that a test names in ``fails_in``."""

    seen: Tensor

    fails_in: ClassVar[set[bool]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, rows: Tensor) -> Tensor:
        self.seen += self.training
        if self.seen > 5 and self.training in self.fails_in:
            raise ValueError("not today")
        found: Tensor = self.linear(rows)
        return found


def moody() -> nn.Module:
    return Moody()


class Hungry(Narrow):
    """Lacks the memory to be trained on more than ``most`` rows at once."""

    def check(self, rows: int) -> None:
        if self.training and rows > self.most:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"
            )


def hungry(most: int) -> nn.Module:
    return Hungry(most)

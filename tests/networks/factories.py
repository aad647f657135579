"""Networks of a user's own, as tests name them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def plain(features: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(4, features), nn.Tanh())


def sums() -> nn.Module:
    """One number a row, without a dimension of its own."""

    class Sums(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows.sum(1)

    return Sums()


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(10, 3)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return torch.cat([self.users(user), item], 1)


def towers() -> nn.Module:
    return Towers()


def raising() -> nn.Module:
    raise OSError("the file is\nnot here")


def no_module() -> int:
    return 3


def narrow() -> nn.Module:
    return nn.Linear(3, 2)

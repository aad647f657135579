"""Networks of a user's own, as tests name them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from driftline.networks.modules import ClampedEmbedding


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


class Factors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users = ClampedEmbedding(4, 3)
        self.items = nn.Embedding(5, 3)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.users(user) * self.items(item)


def factors() -> nn.Module:
    return Factors()


def raising() -> nn.Module:
    raise OSError("the file is\nnot here")


def no_module() -> int:
    return 3


def narrow() -> nn.Module:
    return nn.Linear(3, 2)


class Convolved(nn.Module):
    """Containers in containers, and a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()),
            nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU()),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 6),
            nn.Tanh(),
            nn.Linear(6, 5),
        )
        self.gate = nn.Linear(5, 5)
        self.act = nn.Sigmoid()

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.features(rows)
        return found * self.act(self.gate(found))


def convolved() -> nn.Module:
    return Convolved()


class Shared(nn.Module):
    """The same layers twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.stack(self.stack(rows))
        return found


def shared() -> nn.Module:
    return Shared()


def eights() -> nn.Module:
    return nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 8))

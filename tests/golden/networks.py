"""A user's own networks and losses, as scenarios name them. They stand here, so that no other test changes a digest."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gated(nn.Module):
    """Containers in containers, and a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()),
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


class Towers(nn.Module):
    """Inputs by name."""

    def __init__(self, users: int) -> None:
        super().__init__()
        self.users = nn.Embedding(users, 3)
        self.hidden = nn.Linear(5, 6)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return torch.tanh(self.hidden(torch.cat([self.users(user), item], 1)))


def gated() -> nn.Module:
    return Gated()


def towers(users: int = 10) -> nn.Module:
    return Towers(users)


def plain(features: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(6, features), nn.ReLU(), nn.Dropout(0.1), nn.Linear(features, features))


def softened(outputs: Tensor, targets: Tensor, softness: float) -> Tensor:
    """A loss of a user's own."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=softness)


def brittle(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss that fails for some batches."""
    if int(targets.sum()) % 13 == 0:
        raise ValueError("thirteen")
    return nn.functional.cross_entropy(outputs, targets, reduction="none")

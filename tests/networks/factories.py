"""Networks of a user's own, as tests name them."""

from __future__ import annotations

from typing import Any

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


class Bags(nn.Module):
    """A sum of vectors, whose gradient is sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(12, 4, mode="sum", sparse=True)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.bag(inputs)
        return found


def bags() -> nn.Module:
    return Bags()


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


class Failing(nn.Module):
    """A network that raises, once it is told where."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place
        self.stack = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.head = Head()
        self.head.place = place

    def forward(self, rows: Tensor) -> Tensor:
        if self.place == "forward" or (self.place == "forward of many rows" and len(rows) > 1):
            raise LookupError("today\nno answer")
        found: Tensor = self.head(self.stack(rows))
        return found

    def add_classes(self, count: int) -> None:
        if self.place == "add_classes":
            raise LookupError(f"to {count} more\nno answer")

    def keep_classes(self, indices: list[int]) -> None:
        if self.place == "keep_classes":
            raise LookupError(f"to {len(indices)} left\nno answer")

    def __deepcopy__(self, memo: dict[int, Any]) -> Failing:
        if self.place == "copy":
            raise LookupError("today\nno copy")
        found = Failing(self.place)
        found.load_state_dict(self.state_dict())
        return found.train(self.training)


class Head(nn.Linear):
    place = ""

    def __init__(self) -> None:
        super().__init__(4, 4)

    def reset_parameters(self) -> None:
        if self.place == "reset_parameters":
            raise LookupError("today\nno weights")
        super().reset_parameters()


def failing(place: str) -> nn.Module:
    return Failing(place)


def eights() -> nn.Module:
    return nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 8))

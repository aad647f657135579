"""A mixture with its learner, as a stream of rows teaches them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from driftline.learning.stateful import named
from driftline.learning.training.experts.window import WindowLearner

M = TypeVar("M", bound=nn.Module)
L = TypeVar("L", bound=WindowLearner)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class MixtureStream(ABC, Generic[M, L]):
    """A mixture, its learner, and rows of which some rule is learned."""

    def __init__(self, mixture: M, learner: L) -> None:
        self.mixture, self.learner = mixture, learner
        self.generator = torch.Generator().manual_seed(0)

    @abstractmethod
    def step(self, rows: Tensor, targets: Tensor) -> float:
        """Test, then train; a score of the answers."""

    def play(self, rows: Tensor, targets: Tensor, batch: int) -> list[float]:
        return [self.step(r, t) for r, t in zip(rows.split(batch), targets.split(batch), strict=True)]

    def tensors(self) -> dict[str, Tensor]:
        served = named("mixture", self.mixture.state_dict())
        return {name: value.clone() for name, value in (served | self.learner.state_dict().tensors).items()}

    def is_finite(self) -> bool:
        return all(bool(value.isfinite().all()) for value in self.tensors().values())


def same(one: MixtureStream[M, L], two: MixtureStream[M, L]) -> bool:
    other = two.tensors()
    are_equal = all(torch.equal(value, other[name]) for name, value in one.tensors().items())
    return are_equal and one.learner.state_dict().data == two.learner.state_dict().data

"""Averaged gradient episodic memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.strategies import Method, Strategy

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.memory import Memory
    from driftline.learning.trainee import Trainee
    from driftline.networks.build import Served


class Agem(Strategy):
    """Takes from each gradient what would raise the loss of the memory (A-GEM, Chaudhry et al. 2019).

    ``replayed`` examples from memory give the gradient that it is compared with.
    """

    name: Literal["agem"] = "agem"
    replayed: int = Field(64, ge=1, le=100_000)

    def start(self, trainee: Trainee) -> Method[Agem]:
        return AgemMethod(trainee, self)


class AgemMethod(Method[Agem]):
    def update(self, new: Examples, memory: Memory, teacher: Served | None) -> str | None:
        if not len(new):
            return None
        kept = memory.sample(self.strategy.replayed, self.trainee.generator)
        reference = self.trainee.gradient(kept) if len(kept) else {}
        return self.trainee.descend(new, change=lambda gradient: _projected(gradient, reference))


def _projected(gradient: dict[str, Tensor], reference: dict[str, Tensor]) -> dict[str, Tensor]:
    """Equation 11: ``g − (g·r / r·r) r`` where ``g·r < 0``, else ``g``."""
    dot = sum(float((gradient[name] * value).sum()) for name, value in reference.items())
    if dot >= 0:
        return gradient
    square = sum(float((value**2).sum()) for value in reference.values())
    return {name: value - dot / square * reference[name] for name, value in gradient.items()}

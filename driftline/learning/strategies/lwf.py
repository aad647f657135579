"""Learning without forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.strategies import Method, Strategy

if TYPE_CHECKING:
    from driftline.learning.examples import Examples
    from driftline.learning.memory import Memory
    from driftline.learning.trainee import Trainee
    from driftline.networks.build import Served


class Lwf(Strategy):
    """Keeps answering as an older champion did (LwF, Li & Hoiem 2016): new labels, and distillation on the new inputs.

    ``strength`` weighs the distillation, at ``temperature`` (Hinton et al. 2015); in a regression it is the squared distance.
    """

    name: Literal["lwf"] = "lwf"
    strength: float = Field(1.0, ge=0, le=100)
    temperature: float = Field(2.0, gt=0, le=100)

    def start(self, trainee: Trainee) -> Method[Lwf]:
        return LwfMethod(trainee, self)


class LwfMethod(Method[Lwf]):
    def update(self, new: Examples, memory: Memory, teacher: Served | None) -> str | None:
        from driftline.learning.distillation import distilled

        if not len(new):
            return None
        if teacher is None:
            return self.trainee.descend(new)
        strength, temperature = self.strategy.strength, self.strategy.temperature
        return self.trainee.descend(new, distilled(self.trainee.module, teacher, new, strength, temperature))

"""Dark experience replay."""

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

LOGITS = "logits"


class Der(Strategy):
    """Replays what the network once answered beside the labels (DER++, Buzzega et al. 2020).

    ``alpha`` weighs the distance to the logits of then, ``beta`` the loss of the replayed labels.
    """

    name: Literal["der"] = "der"
    replayed: int = Field(64, ge=1, le=100_000)
    alpha: float = Field(0.3, ge=0, le=100)
    beta: float = Field(0.7, ge=0, le=100)

    def start(self, trainee: Trainee) -> Method[Der]:
        return DerMethod(trainee, self)


class DerMethod(Method[Der]):
    def update(self, new: Examples, memory: Memory, teacher: Served | None) -> str | None:
        generator, count = self.trainee.generator, self.strategy.replayed
        once, again = memory.sample(count, generator), memory.sample(count, generator)
        if not len(once):
            return self.trainee.descend(new) if len(new) else None

        def remembered(_: Tensor) -> Tensor:
            return self._distance(once) + self.strategy.beta * self.trainee.loss(again)

        return self.trainee.descend(new, remembered)

    def _distance(self, examples: Examples) -> Tensor:
        """How far the network's logits are from those of then, where they were noted."""
        import torch

        outputs: Tensor = self.trainee.module(examples.inputs)
        if LOGITS not in examples.notes:
            return outputs.new_zeros(())
        then = examples.notes[LOGITS]
        outputs = outputs[:, : then.shape[1]]
        known = ~then[:, : outputs.shape[1]].isnan()
        squares = torch.where(known, outputs - then.nan_to_num(), 0.0) ** 2
        distance: Tensor = squares.sum() / known.sum().clamp(min=1)
        return self.strategy.alpha * distance

    def note(self, new: Examples) -> Examples:
        import torch

        if not len(new):
            return new
        with torch.no_grad():
            return new.noted(**{LOGITS: self.trainee.module.eval()(new.inputs)})

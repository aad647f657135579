"""A limit on what a unit takes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from driftline.learning.rules import Rule

if TYPE_CHECKING:
    from driftline.learning.examples import Examples
    from driftline.learning.rules import State
    from driftline.learning.trainee import Trainee


class MaxNorm(Rule):
    """Scales the weights into each unit back to the norm ``limit`` where they exceed it (Srivastava et al. 2014)."""

    field: ClassVar[str] = "max_norm"
    limit: float = Field(3.0, gt=0, le=1e6)

    def on_update(self, trainee: Trainee, state: State, examples: Examples) -> None:
        import torch

        from driftline.learning.rules.units import weights_of_units

        trained = trainee.parameters
        with torch.no_grad():
            for name, weight, axis in weights_of_units(trainee.module):
                if name in trained and len(weight):
                    weight.copy_(torch.renorm(weight, 2, axis, self.limit))

"""Weights that can learn again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from driftline.learning.rules import Rule

if TYPE_CHECKING:
    from driftline.learning.rules import State
    from driftline.learning.trainee import Trainee


class ShrinkAndPerturb(Rule):
    """At a drift alarm the weights become ``shrink · θ + noise · θ₀``, with ``θ₀`` drawn anew (Ash & Adams 2020)."""

    field: ClassVar[str] = "shrink_and_perturb"
    shrink: float = Field(0.6, ge=0, le=1)
    noise: float = Field(0.1, ge=0, le=1)

    def on_alarm(self, trainee: Trainee, state: State) -> None:
        import torch

        from driftline.learning.trainee import renew
        from driftline.networks.twin import twin

        fresh = twin(trainee.module)
        renew(fresh)
        drawn = dict(fresh.named_parameters())
        with torch.no_grad():
            for name, weight in trainee.parameters.items():
                if name.startswith(("network.", "output.")):
                    weight.copy_(self.shrink * weight + self.noise * drawn[name])
        trainee.renew_optimizer()

"""A limit on what a unit takes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from driftline.learning.training.hooks import WeightHook

if TYPE_CHECKING:
    from driftline.learning.examples import Examples
    from driftline.learning.training.hooks import HookState
    from driftline.learning.training.train_state import TrainState


class MaxNorm(WeightHook):
    """Scales the weights into each unit back to the norm ``limit`` where they exceed it (Srivastava et al. 2014)."""

    field: ClassVar[str] = "max_norm"
    limit: float = Field(3.0, gt=0, le=1e6)

    def after_update(self, train_state: TrainState, state: HookState, examples: Examples) -> None:
        import torch

        from driftline.learning.training.hooks.unit_weights import weights_of_units

        trained = train_state.parameters
        with torch.no_grad():
            for name, weight, axis in weights_of_units(train_state.module):
                if name in trained and len(weight):
                    weight.copy_(torch.renorm(weight, 2, axis, self.limit))

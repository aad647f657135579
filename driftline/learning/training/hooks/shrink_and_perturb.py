"""Weights that can learn again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from driftline.learning.training.hooks import WeightHook

if TYPE_CHECKING:
    from driftline.learning.training.hooks import HookState
    from driftline.learning.training.train_state import TrainState


class ShrinkAndPerturbOnAlarm(WeightHook):
    """At a drift alarm the weights become ``shrink · θ + noise · θ₀``, with ``θ₀`` drawn anew (Ash & Adams 2020)."""

    field: ClassVar[str] = "shrink_and_perturb"
    shrink: float = Field(0.6, ge=0, le=1)
    noise: float = Field(0.1, ge=0, le=1)

    def on_drift(self, train_state: TrainState, state: HookState) -> None:
        import torch

        from driftline.learning.training.train_state import reset_weights
        from driftline.networks.clone import clone

        fresh = clone(train_state.module)
        reset_weights(fresh)
        drawn = dict(fresh.named_parameters())
        with torch.no_grad():
            for name, weight in train_state.parameters.items():
                if name.startswith(("network.", "output.")):
                    weight.copy_(self.shrink * weight + self.noise * drawn[name])
        train_state.renew_optimizer()

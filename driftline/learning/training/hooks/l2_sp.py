"""Weight decay towards a starting point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from driftline.learning.training.hooks import WeightHookRuntime
from driftline.learning.training.train_state import TrainState
from driftline.spec.parts.hooks import L2SP

OUTPUT = "output."


class L2SPHook(WeightHookRuntime[L2SP]):
    """``origin`` holds the weights of the version that the recipe names; none where that is the champion."""

    STATE = ("origin",)

    def restart(self, state: TrainState) -> None:
        self.origin: dict[str, Tensor] = {}

    def remember(self, versions: Mapping[int, Mapping[str, Tensor]]) -> None:
        version = self.parameters.version
        if isinstance(version, int) and version in versions:
            self.origin |= {name: value.clone() for name, value in versions[version].items()}

    def inherit(self, before: WeightHookRuntime[Any]) -> None:
        if isinstance(before, L2SPHook) and before.parameters.version == self.parameters.version:
            self.origin |= {name: value.clone() for name, value in before.origin.items()}

    def reclass(self) -> None:
        self.origin = {name: value for name, value in self.origin.items() if not name.startswith(OUTPUT)}

    def before_update(self, state: TrainState) -> None:
        origin = state.champion_weights() if self.parameters.version == "champion" else self.origin
        for name, weight in state.parameters.items():
            known = origin.get(name)
            if known is None or weight.grad is None or known.shape[1:] != weight.shape[1:]:
                continue
            rows = slice(None) if known.dim() == 0 else slice(min(len(known), len(weight)))
            own = weight.detach()
            weight.grad[rows].add_(own[rows] - known[rows].to(own.device), alpha=self.parameters.strength)

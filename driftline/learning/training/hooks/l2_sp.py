"""Weight decay towards a starting point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.hooks import WeightHook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from driftline.learning.training.hooks import HookState
    from driftline.learning.training.train_state import TrainState

ORIGIN = ".origin"
OUTPUT = "output."


class L2SP(WeightHook):
    """The penalty ``strength / 2 · Σ (θ - θ°)²``, with ``θ°`` of a kept ``version`` or of the champion (Li et al. 2018).

    Weights that are not in ``θ°``, as those of a new class, are free; so is the output where ``version`` has other classes.
    """

    field: ClassVar[str] = "l2_sp"
    version: Annotated[int, Field(ge=1)] | Literal["champion"] = "champion"
    strength: float = Field(0.01, ge=0, le=1000)

    def remember(self, state: HookState, versions: Mapping[int, Mapping[str, Tensor]]) -> None:
        if isinstance(self.version, int) and self.version in versions:
            state |= {f"{name}{ORIGIN}": value.clone() for name, value in versions[self.version].items()}

    def inherit(self, state: HookState, before: WeightHook, other: HookState) -> None:
        if isinstance(before, L2SP) and before.version == self.version:
            state |= {name: value.clone() for name, value in other.items()}

    def reclass(self, state: HookState) -> None:
        for name in [name for name in state if name.startswith(OUTPUT)]:
            del state[name]

    def before_update(self, train_state: TrainState, state: HookState) -> None:
        origin = {key.removesuffix(ORIGIN): value for key, value in state.items()}
        if self.version == "champion":
            origin = train_state.champion_weights()
        for name, weight in train_state.parameters.items():
            known = origin.get(name)
            if known is None or weight.grad is None or known.shape[1:] != weight.shape[1:]:
                continue
            rows = slice(None) if known.dim() == 0 else slice(min(len(known), len(weight)))
            own = weight.detach()
            weight.grad[rows].add_(own[rows] - known[rows], alpha=self.strength)

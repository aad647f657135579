"""Stochastic weight averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.training.averaging import AT, COUNT, Averaging

if TYPE_CHECKING:
    from driftline.learning.training.hooks import HookState
    from driftline.learning.training.train_state import TrainState


class Swa(Averaging):
    """The plain mean of the weights at every ``every`` labels (SWA, Izmailov et al. 2018).

    A stream has no end: from the ``most``-th on, the older ones fade.
    """

    name: Literal["swa"] = "swa"
    every: int = Field(256, ge=1, le=1_000_000_000)
    most: int = Field(20, ge=1, le=100_000)

    def share(self, train_state: TrainState, state: HookState) -> float:
        taken = int(state[COUNT])
        if taken and train_state.labels - int(state[AT]) < self.every:
            return 0.0
        return 1 / min(taken + 1, self.most)

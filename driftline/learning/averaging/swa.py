"""Stochastic weight averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.averaging import AT, COUNT, Averaging

if TYPE_CHECKING:
    from driftline.learning.rules import State
    from driftline.learning.trainee import Trainee


class Swa(Averaging):
    """The plain mean of the weights at every ``every`` labels (SWA, Izmailov et al. 2018).

    A stream has no end: from the ``most``-th on, the older ones fade.
    """

    name: Literal["swa"] = "swa"
    every: int = Field(256, ge=1, le=1_000_000_000)
    most: int = Field(20, ge=1, le=100_000)

    def share(self, trainee: Trainee, state: State) -> float:
        taken = int(state[COUNT])
        if taken and trainee.labels - int(state[AT]) < self.every:
            return 0.0
        return 1 / min(taken + 1, self.most)

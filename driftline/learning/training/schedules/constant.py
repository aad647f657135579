"""One rate for ever."""

from __future__ import annotations

from typing import Literal

from driftline.learning.training.schedules import Schedule


class Constant(Schedule):
    """The rate stays: what is learned tomorrow matters as much as what is learned today."""

    name: Literal["constant"] = "constant"

    def factor(self, state: dict[str, float], labels: int) -> float:
        return 1.0

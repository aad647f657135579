"""An exponential moving average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.training.averaging import COUNT, Averaging

if TYPE_CHECKING:
    from driftline.learning.training.hooks import HookState
    from driftline.learning.training.train_state import TrainState


class Ema(Averaging):
    """``decay`` of the mean stays at each update (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).

    Over the first updates less does, so that the first weights do not linger: ``(1 + n) / (10 + n)``.
    """

    name: Literal["ema"] = "ema"
    decay: float = Field(0.99, ge=0, lt=1)

    def share(self, train_state: TrainState, state: HookState) -> float:
        updates = int(state[COUNT])
        return 1 - min(self.decay, (1 + updates) / (10 + updates))

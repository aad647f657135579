"""An exponential moving average."""

from __future__ import annotations

from driftline.learning.training.averaging import WeightAveraging
from driftline.spec.parts.averaging import Ema


class ExponentialAverage(WeightAveraging[Ema]):
    """A share of the mean stays at each update."""

    def share(self, labels: int) -> float:
        return 1 - min(self.parameters.decay, (1 + self.updates) / (10 + self.updates))

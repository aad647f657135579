"""Stochastic weight averaging."""

from __future__ import annotations

from driftline.learning.training.averaging import WeightAveraging
from driftline.spec.parts.averaging import Swa


class StochasticAverage(WeightAveraging[Swa]):
    """The plain mean of the weights at every so many labels."""

    def share(self, labels: int) -> float:
        if self.updates and labels - self.taken_at < self.parameters.every:
            return 0.0
        return 1 / min(self.updates + 1, self.parameters.most)

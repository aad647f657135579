"""Experience replay."""

from __future__ import annotations

import torch

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource
from driftline.learning.training.strategies import StrategyRuntime
from driftline.spec.parts.strategies import Replay


class ReplayRuntime(StrategyRuntime[Replay]):
    """Trains on new and replayed examples together."""

    def batch(self, new: Examples, replay: ExampleSource, generator: torch.Generator) -> Examples:
        return new.joined(replay.sample(self.parameters.replayed, generator))

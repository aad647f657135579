"""New labels only."""

from __future__ import annotations

from driftline.learning.training.strategies import StrategyRuntime
from driftline.spec.parts.strategies import Finetune


class FinetuneRuntime(StrategyRuntime[Finetune]):
    """Trains on what is new."""

"""New labels only."""

from __future__ import annotations

from typing import Literal

from driftline.learning.training.strategies import Strategy


class Finetune(Strategy):
    """Trains on what is new and remembers nothing: the base line of continual learning."""

    name: Literal["finetune"] = "finetune"

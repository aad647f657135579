"""New labels only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.learning.strategies import Strategy

if TYPE_CHECKING:
    import torch

    from driftline.learning.examples import Examples
    from driftline.learning.memory import Memory


class Finetune(Strategy):
    """Trains on what is new and remembers nothing: the base line of continual learning."""

    name: Literal["finetune"] = "finetune"

    def batch(self, new: Examples, memory: Memory, generator: torch.Generator) -> Examples:
        return new

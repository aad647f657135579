"""How the updates of a step are made, one strategy a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftline.registry import Part, Registry

if TYPE_CHECKING:
    import torch

    from driftline.learning.examples import Examples
    from driftline.learning.memory import Memory


class Strategy(Part):
    """Chooses what an update trains on."""

    name: str

    def batch(self, new: Examples, memory: Memory, generator: torch.Generator) -> Examples:
        """The examples of one update.

        Args:
            new: those of the step, ``[rows]``; may be empty, as in an update that only replays.
            memory: those kept from former steps.
            generator: the only source of chance.
        """
        raise NotImplementedError


STRATEGIES = Registry(Strategy, __name__)

"""Which examples are kept for replay, one policy a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from driftline.registry import Part, Registry

if TYPE_CHECKING:
    from driftline.learning.replay.buffers import ReplayBuffer


class ReplayPolicy(Part):
    """Says where a new example goes. ``size`` is how many are kept."""

    name: str
    size: int = Field(5000, ge=0, le=10_000_000)

    def place(self, replay_buffer: ReplayBuffer, label: int, keep: float, which: float) -> int | None:
        """The slot that a new example takes; None when it is not kept. ``replay_buffer.seen`` counts it already.

        Args:
            label: its class; 0 in a regression.
            keep: a draw from [0, 1) that decides whether it is kept.
            which: a draw from [0, 1) that decides whose place it takes.
        """
        raise NotImplementedError


REPLAY_POLICIES = Registry(ReplayPolicy, __name__, default="balanced")

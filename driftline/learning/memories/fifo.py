"""The newest examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.learning.memories import MemoryPolicy

if TYPE_CHECKING:
    from driftline.learning.memory import Memory


class Fifo(MemoryPolicy):
    """A sliding window: the oldest example goes first."""

    name: Literal["fifo"] = "fifo"

    def place(self, memory: Memory, label: int, keep: float, which: float) -> int | None:
        return (memory.total_seen - 1) % self.size

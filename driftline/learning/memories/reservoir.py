"""A fair sample of all that was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.learning.memories import MemoryPolicy

if TYPE_CHECKING:
    from driftline.learning.memory import Memory


class Reservoir(MemoryPolicy):
    """Every example ever seen is kept with the same probability (algorithm R, Vitter 1985)."""

    name: Literal["reservoir"] = "reservoir"

    def place(self, memory: Memory, label: int, keep: float, which: float) -> int | None:
        if memory.total_seen <= self.size:
            return memory.total_seen - 1
        slot = int(keep * memory.total_seen)
        return slot if slot < self.size else None

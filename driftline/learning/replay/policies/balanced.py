"""As many examples of a rare class as of a frequent one."""

from __future__ import annotations

from typing import Any

from driftline.learning.replay.policies import PlacementPolicy
from driftline.learning.stateful import State
from driftline.spec.parts.replay_policies import Balanced


class BalancedPlacement(PlacementPolicy[Balanced]):
    """``slots`` are those of each class; ``full`` the classes that were ever the largest."""

    STATE = ("full", "slots")

    def __init__(self, parameters: Balanced) -> None:
        super().__init__(parameters)
        self.full: set[int] = set()
        self.slots: dict[int, list[int]] = {}

    def restored(self, name: str, state: State) -> Any:
        if name == "slots":
            return {label: list(own) for label, own in state.data["slots"]}
        return super().restored(name, state)

    def _slot(self, label: int, keep: float, which: float) -> int | None:
        slots = self.slots
        own = slots.setdefault(label, [])
        used = sum(map(len, slots.values()))
        if used < self.size:
            own.append(used)
            return used
        most = max(map(len, slots.values()))
        self.full |= {name for name, taken in slots.items() if len(taken) == most}
        if label not in self.full:
            victims = slots[min(name for name, taken in slots.items() if len(taken) == most)]
            slot = victims.pop(int(which * len(victims)))
            own.append(slot)
            return slot
        if keep * self.seen[label] < len(own):
            return own[int(which * len(own))]
        return None

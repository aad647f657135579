"""As many examples of a rare class as of a frequent one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.learning.replay.policies import ReplayPolicy

if TYPE_CHECKING:
    from driftline.learning.replay.buffers import ReplayBuffer


class Balanced(ReplayPolicy):
    """A class-balanced reservoir (CBRS, Chrysakis & Moens 2020); of a regression, a plain one.

    While there is room everything is kept. Then a new example of a small class takes the place of one of the largest, and an
    example of a class that was ever the largest is kept with the probability that keeps its class a fair sample.
    """

    name: Literal["balanced"] = "balanced"

    def place(self, replay_buffer: ReplayBuffer, label: int, keep: float, which: float) -> int | None:
        slots = replay_buffer.slots
        own = slots.setdefault(label, [])
        used = sum(map(len, slots.values()))
        if used < self.size:
            own.append(used)
            return used
        most = max(map(len, slots.values()))
        replay_buffer.full |= {name for name, taken in slots.items() if len(taken) == most}
        if label not in replay_buffer.full:
            victims = slots[min(name for name, taken in slots.items() if len(taken) == most)]
            slot = victims.pop(int(which * len(victims)))
            own.append(slot)
            return slot
        if keep * replay_buffer.seen[label] < len(own):
            return own[int(which * len(own))]
        return None

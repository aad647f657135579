"""As many examples of a rare class as of a frequent one."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from driftline.learning.replay.policies import PlacementPolicy
from driftline.learning.stateful import State
from driftline.spec.parts.replay_policies import Balanced


class BalancedPlacement(PlacementPolicy[Balanced]):
    """``slots`` are those of each class; ``full`` the classes that were ever the largest.

    What an example costs does not depend on how many classes there are: ``used`` follows every change, and so does ``sizes``
    as soon as there is no more room.
    """

    STATE = ("full", "slots")
    DERIVED = ("used", "sizes")

    def __init__(self, parameters: Balanced) -> None:
        super().__init__(parameters)
        self.full: set[int] = set()
        self.slots: dict[int, list[int]] = {}
        self._count()

    def _count(self) -> None:
        self.used = sum(map(len, self.slots.values()))
        self.sizes = _Sizes(self.full)
        for label, own in self.slots.items():
            self.sizes.put(label, len(own))

    def restored(self, name: str, state: State) -> Any:
        if name == "slots":
            return {label: list(own) for label, own in state.data["slots"]}
        return super().restored(name, state)

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._count()

    def _slot(self, label: int, keep: float, which: float) -> int | None:
        own = self.slots.setdefault(label, [])
        if self.used < self.size:
            own.append(self.used)
            self.used += 1
            if self.used == self.size:
                self._count()
            return self.used - 1
        self.sizes.fill()
        if label not in self.full:
            slot = self._take(self.sizes.largest(), which)
            self._give(label, slot)
            return slot
        if keep * self.seen[label] < len(own):
            return own[int(which * len(own))]
        return None

    def relabel(self, slot: int, former: int, label: int) -> None:
        super().relabel(slot, former, label)
        self.slots[former].remove(slot)
        self.slots.setdefault(label, []).append(slot)
        self._count()

    def _give(self, label: int, slot: int) -> None:
        own = self.slots[label]
        own.append(slot)
        self.sizes.put(label, len(own))

    def _take(self, label: int, which: float) -> int:
        own = self.slots[label]
        slot = own.pop(int(which * len(own)))
        self.sizes.put(label, len(own))
        return slot


class _Sizes:
    """Classes by size: finds the largest, of equals that of the lowest id, without a look at all of them.

    ``full`` is the policy's own set. ``_fresh`` holds, by size, the classes that are not in it. A class stays in the heap of a
    size when it has left it, and is passed over there.
    """

    def __init__(self, full: set[int]) -> None:
        self.full = full
        self.most = 0
        self._size_of: dict[int, int] = {}
        self._members: dict[int, set[int]] = {}
        self._heaps: dict[int, list[int]] = {}
        self._in_heap: dict[int, set[int]] = {}
        self._fresh: dict[int, set[int]] = {}

    def put(self, label: int, size: int) -> None:
        """A class has so many slots now."""
        former = self._size_of.get(label)
        if former is not None:
            self._members[former].discard(label)
            self._fresh[former].discard(label)
        self._size_of[label] = size
        self._members.setdefault(size, set()).add(label)
        fresh = self._fresh.setdefault(size, set())
        if label not in self.full:
            fresh.add(label)
        known = self._in_heap.setdefault(size, set())
        if label not in known:
            known.add(label)
            heappush(self._heaps.setdefault(size, []), label)
        self.most = max(self.most, size)
        while self.most and not self._members.get(self.most):
            self.most -= 1

    def fill(self) -> None:
        """The classes that are the largest now were so once."""
        fresh = self._fresh.get(self.most)
        if fresh:
            self.full |= fresh
            fresh.clear()

    def largest(self) -> int:
        """The largest class, of equals that of the lowest id."""
        heap, members, known = self._heaps[self.most], self._members[self.most], self._in_heap[self.most]
        while heap[0] not in members:
            known.discard(heappop(heap))
        return heap[0]

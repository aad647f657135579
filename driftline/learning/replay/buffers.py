"""Examples kept for replay, and examples kept from training."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from driftline.learning.examples import NO_NOTE, Examples, RowChange
from driftline.learning.replay.policies import placement_policy
from driftline.learning.runtime import ExampleSource
from driftline.learning.stateful import State, Stateful, part
from driftline.spec.parts.replay_policies import ReplayPolicy

ERROR = "error"
MAX_WAITING = 64
"""So many rows wait to be written, and no more."""


class HalvedSource:
    """Gives fewer examples than it is asked for: half of them, so many times ``halved``, and one at least."""

    def __init__(self, source: ExampleSource, halved: int) -> None:
        self.source = source
        self.halved = halved

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, count: int, generator: torch.Generator) -> Examples:
        return self.source.sample(max(1, count >> self.halved), generator)


class _RowSlots(Stateful):
    """Rows in preallocated tensors that grow up to ``size``, of which the first ``filled`` are kept.

    Those that come wait until somebody looks at the rows: to write each by itself costs as much as to learn it.
    """

    STATE: ClassVar[tuple[str, ...]] = ("rows",)
    DERIVED: ClassVar[tuple[str, ...]] = ("size", "filled", "_rows", "_waiting", "_slots")

    def __init__(self, size: int, empty: Examples) -> None:
        self.size = size
        self.filled = 0
        self.rows = empty

    def __len__(self) -> int:
        return self.filled

    @property
    def rows(self) -> Examples:
        self._write_waiting()
        return self._rows

    @rows.setter
    def rows(self, rows: Examples) -> None:
        self._rows = rows
        self._waiting: list[Examples] = []
        self._slots: list[int] = []

    @property
    def examples(self) -> Examples:
        """A copy of all rows that are kept."""
        return self.rows.take(torch.arange(self.filled))

    def sample(self, count: int, generator: torch.Generator) -> Examples:
        """``count`` rows, drawn evenly with replacement; none while nothing is kept."""
        if not self.filled:
            return self.examples
        return self.rows.take(torch.randint(self.filled, (count,), generator=generator))

    def carry(self, change: RowChange) -> None:
        """Brings rows to what they would be now."""
        self.rows = self.rows.carried(change)

    def revise(self, corrected: Examples) -> list[int]:
        """Gives the rows that are kept of these facts the labels and weights that they have now; their slots."""
        pairs = self.rows.slots_of(corrected)
        for slot, row in pairs:
            self._relabel(slot, self.rows.targets[slot], corrected.targets[row])
        self.rows = self.rows.revised(corrected)
        return [slot for slot, _ in pairs]

    def _relabel(self, slot: int, former: Tensor, target: Tensor) -> None:
        """Lets what is kept beside the rows follow the label of one."""

    def packed(self, name: str) -> Any:
        return State(self.examples.tensors(), {}) if name == "rows" else super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if name != "rows":
            return super().restored(name, state)
        rows = Examples.from_tensors(part(state.tensors, "rows"))
        self.filled = len(rows)
        # A copy: they are written over later.
        return rows.take(torch.arange(self.filled))

    def _put(self, slots: Sequence[int | None], new: Examples) -> None:
        """Puts rows into slots, those without one nowhere; a slot that is taken twice holds the later row."""
        taken = [slot for slot in slots if slot is not None]
        if not taken:
            return
        if len(taken) < len(new):
            new = new.take(torch.tensor([slot is not None for slot in slots]))
        if len(self._slots) >= MAX_WAITING or (self._waiting and _widths(new) != _widths(self._waiting[0])):
            self._write_waiting()
        self._waiting.append(new)
        self._slots += taken
        self.filled = max(self.filled, max(taken) + 1)

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        new, slots = Examples.all_of(self._waiting), self._slots
        self._waiting, self._slots = [], []
        last = {slot: row for row, slot in enumerate(slots)}
        self._write(list(last), new if len(last) == len(new) else new.take(torch.tensor(list(last.values()))))

    def _write(self, slots: Sequence[int], new: Examples) -> None:
        """Puts rows into slots, each into one of its own."""
        highest = max(slots) + 1
        rows = self._rows
        if highest > len(rows):
            rows = rows.grown(min(self.size, max(highest, 2 * len(rows))))
        rows = self._rows = rows.with_room_for(new)
        places: Tensor | slice = torch.tensor(slots) if len(slots) > 1 else slice(highest - 1, highest)
        for name, value in rows.inputs.items():
            value[places] = new.inputs[name]
        for name, note in rows.notes.items():
            note[places] = NO_NOTE
            if name in new.notes:
                note[places, : new.notes[name].shape[1]] = new.notes[name]
        rows.targets[places] = new.targets
        rows.weights[places] = new.weights
        rows.numbers[places] = new.numbers


class ReplayBuffer(_RowSlots):
    """What the recipe's ``policy`` keeps."""

    STATE: ClassVar[tuple[str, ...]] = ("policy",)
    DERIVED: ClassVar[tuple[str, ...]] = ("has_classes",)

    def __init__(self, policy: ReplayPolicy, empty: Examples) -> None:
        super().__init__(policy.size, empty)
        self.policy = placement_policy(policy)
        self.has_classes = empty.targets.dtype == torch.int64

    def add(self, new: Examples, generator: torch.Generator) -> None:
        """Takes rows in, in their order."""
        if not len(new) or not self.size:
            return
        chances = torch.rand((len(new), 2), generator=generator, dtype=torch.float64).tolist()
        classes = new.targets.tolist() if self.has_classes else [0] * len(new)
        self._put([self.policy.place(label, *chance) for label, chance in zip(classes, chances, strict=True)], new)

    def _relabel(self, slot: int, former: Tensor, target: Tensor) -> None:
        if self.has_classes:
            self.policy.relabel(slot, int(former), int(target))


class SlidingWindow(_RowSlots):
    """The newest examples; ``numbers`` counts, for each slot, how many were added before its own.

    Where examples have groups it is the newest of each group, and as many of each as there is room for; ``slots`` are those
    of each group, oldest first. ``since`` is the number of the first since the last drift.
    """

    STATE: ClassVar[tuple[str, ...]] = ("added", "since", "numbers", "slots")

    def __init__(self, size: int, empty: Examples) -> None:
        super().__init__(size, empty)
        self.added = 0
        self.since = 0
        self.numbers: list[int] = []
        self.slots: dict[int, deque[int]] = {}

    def groups_of(self, new: Examples) -> list[int]:
        """The group of each row."""
        return [0] * len(new)

    def add(self, new: Examples) -> None:
        """Takes rows in, in their order; the oldest of the largest group go."""
        if not self.size or not len(new):
            return
        self._put([self._place(group) for group in self.groups_of(new)], new)

    def _place(self, group: int) -> int:
        own = self.slots.setdefault(group, deque())
        if len(self.numbers) < self.size:
            slot = len(self.numbers)
            self.numbers.append(self.added)
        else:
            largest = max(self.slots.values(), key=len)
            slot = (own if len(own) == len(largest) else largest).popleft()
            self.numbers[slot] = self.added
        own.append(slot)
        self.added += 1
        return slot

    def _present(self) -> Tensor:
        """The slots of those since the last drift."""
        return (torch.tensor(self.numbers, dtype=torch.int64) >= self.since).nonzero().flatten()

    def current(self) -> Examples:
        """Those since the last drift, oldest first."""
        slots = sorted(self._present().tolist(), key=self.numbers.__getitem__)
        return self.rows.take(torch.tensor(slots, dtype=torch.int64))

    def restored(self, name: str, state: State) -> Any:
        if name == "slots":
            return {group: deque(own) for group, own in state.data["slots"]}
        return super().restored(name, state)


class Holdout(SlidingWindow):
    """Examples that are never trained on; each class is a group, so that one that comes no more is still judged.

    With them the errors of a model that does not change are kept, so that they are computed only once.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("has_classes",)

    def __init__(self, size: int, empty: Examples) -> None:
        super().__init__(size, empty)
        self.has_classes = empty.targets.dtype == torch.int64

    def groups_of(self, new: Examples) -> list[int]:
        return new.targets.tolist() if self.has_classes else super().groups_of(new)

    def revise(self, corrected: Examples) -> list[int]:
        slots = super().revise(corrected)
        if slots and ERROR in self.rows.notes:
            self.rows.notes[ERROR][slots] = NO_NOTE
        return slots

    def _relabel(self, slot: int, former: Tensor, target: Tensor) -> None:
        if self.has_classes:
            self.slots[int(former)].remove(slot)
            own = [*self.slots.get(int(target), ()), slot]
            self.slots[int(target)] = deque(sorted(own, key=self.numbers.__getitem__))

    def present(self) -> tuple[Examples, Tensor]:
        """Those since the last drift, in the order of their slots; and their errors ``[rows]``, NaN where not known."""
        found = self.rows.take(self._present())
        errors = found.notes.get(ERROR, found.weights.new_full((len(found), 1), NO_NOTE))
        return found, errors[:, 0]

    def keep_errors(self, errors: Tensor | None) -> None:
        """Keeps the errors ``[rows]`` of those since the last drift, and no others; None keeps none."""
        kept = self.rows.weights.new_full((len(self.rows), 1), NO_NOTE)
        if errors is not None:
            kept[self._present(), 0] = errors
        self.rows = self.rows.noted(**{ERROR: kept})

    def carry(self, change: RowChange) -> None:
        super().carry(change)
        self.keep_errors(None)

    def on_drift(self, record: int) -> None:
        """Drift was detected, since this log number: what was held out before it is compared no more."""
        newer = (self.rows.numbers[: self.filled] >= record).nonzero().flatten().tolist()
        self.since = max(self.since, min((self.numbers[slot] for slot in newer), default=self.added))

    @property
    def newest(self) -> int:
        """The log number of the newest that is held out; 0 where there is none."""
        return int(self.rows.numbers[: self.filled].max()) if self.filled else 0


def _widths(examples: Examples) -> dict[str, int]:
    """How many numbers each note has."""
    return {name: note.shape[1] for name, note in examples.notes.items()}

"""Examples kept for replay, and examples kept from training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from driftline.learning.examples import Examples


class _Slots:
    """Rows in preallocated tensors that grow up to ``size``."""

    def __init__(self, size: int, empty: Examples) -> None:
        self.size = size
        self.filled = 0
        self.rows = empty

    def __len__(self) -> int:
        return self.filled

    @property
    def examples(self) -> Examples:
        """A copy of all rows that are kept."""
        return self.rows.take(torch.arange(self.filled))

    def _set(self, rows: Examples) -> None:
        """Takes a copy of rows in the place of what is kept: they are written over later."""
        self.filled = len(rows)
        self.rows = rows.take(torch.arange(self.filled))

    def _write(self, slots: Tensor, new: Examples) -> None:
        """Puts rows into slots; a later row wins where two have the same."""
        highest = int(slots.max()) + 1
        if highest > len(self.rows):
            self.rows = _grown(self.rows, min(self.size, max(highest, 2 * len(self.rows))))
        for name, value in self.rows.inputs.items():
            value[slots] = new.inputs[name]
        self.rows.targets[slots] = new.targets
        self.rows.weights[slots] = new.weights
        self.filled = max(self.filled, highest)


def _grown(rows: Examples, size: int) -> Examples:
    def grow(value: Tensor) -> Tensor:
        larger = value.new_zeros((size, *value.shape[1:]))
        larger[: len(value)] = value
        return larger

    return Examples({name: grow(value) for name, value in rows.inputs.items()}, grow(rows.targets), grow(rows.weights))


class Memory(_Slots):
    """A class-balanced reservoir (CBRS, Chrysakis & Moens 2020); of a regression, a plain reservoir (Vitter 1985).

    While there is room everything is kept. Then a new example of a small class takes the place of one of the largest, and an
    example of a class that was ever the largest is kept with the probability that keeps its class a fair sample.
    """

    def __init__(self, size: int, empty: Examples) -> None:
        super().__init__(size, empty)
        self.is_balanced = empty.targets.dtype == torch.int64
        self.seen: dict[int, int] = {}
        self.full: set[int] = set()
        self._slots: dict[int, list[int]] = {}

    def add(self, new: Examples, generator: torch.Generator) -> None:
        """Takes rows in, in their order."""
        if not len(new) or not self.size:
            return
        chances = torch.rand((len(new), 2), generator=generator, dtype=torch.float64).tolist()
        classes = new.targets.tolist() if self.is_balanced else [0] * len(new)
        slots = [self._place(label, *chance) for label, chance in zip(classes, chances, strict=True)]
        # A slot that is taken twice in one call holds the later row.
        last = {slot: row for row, slot in enumerate(slots) if slot is not None}
        if last:
            self._write(torch.tensor(list(last)), new.take(torch.tensor(list(last.values()))))

    def _place(self, label: int, keep: float, which: float) -> int | None:
        """The slot that a new example of a class takes; None when it is not kept."""
        self.seen[label] = self.seen.get(label, 0) + 1
        own = self._slots.setdefault(label, [])
        used = sum(map(len, self._slots.values()))
        if used < self.size:
            own.append(used)
            return used
        most = max(map(len, self._slots.values()))
        self.full |= {name for name, slots in self._slots.items() if len(slots) == most}
        if label not in self.full:
            victims = self._slots[min(name for name, slots in self._slots.items() if len(slots) == most)]
            slot = victims.pop(int(which * len(victims)))
            own.append(slot)
            return slot
        if keep * self.seen[label] < len(own):
            return own[int(which * len(own))]
        return None

    def sample(self, count: int, generator: torch.Generator) -> Examples:
        """``count`` rows, drawn evenly with replacement; none while nothing is kept."""
        if not self.filled:
            return self.examples
        return self.rows.take(torch.randint(self.filled, (count,), generator=generator))

    def tensors(self) -> dict[str, Tensor]:
        return self.examples.tensors()

    def data(self) -> dict[str, object]:
        """The plain part of the state."""
        return {
            "seen": sorted(self.seen.items()),
            "full": sorted(self.full),
            "slots": sorted(self._slots.items()),
        }

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, list]) -> None:  # type: ignore[type-arg]
        """Sets the state that :meth:`tensors` and :meth:`data` gave."""
        self._set(Examples.from_tensors(tensors))
        self.seen = dict(data["seen"])
        self.full = set(data["full"])
        self._slots = {label: list(slots) for label, slots in data["slots"]}


class Holdout(_Slots):
    """The newest examples that are never trained on. ``since`` numbers those that arrived behind the last alarm."""

    def __init__(self, size: int, empty: Examples) -> None:
        super().__init__(size, empty)
        self.arrived = 0
        self.since = 0

    def add(self, new: Examples) -> None:
        """Takes rows in; the oldest go."""
        new = new.take(slice(max(0, len(new) - self.size), len(new)))
        if len(new):
            self._write((torch.arange(len(new)) + self.arrived) % self.size, new)
            self.arrived += len(new)

    def alarm(self) -> None:
        """What was held out before now belongs to another world."""
        self.since = self.arrived

    def current(self) -> Examples:
        """What was held out since the last alarm, oldest first."""
        count = min(self.filled, self.arrived - self.since)
        return self.rows.take((torch.arange(self.arrived - count, self.arrived)) % max(self.size, 1))

    def tensors(self) -> dict[str, Tensor]:
        return self.examples.tensors()

    def data(self) -> dict[str, int]:
        return {"arrived": self.arrived, "since": self.since}

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, int]) -> None:
        self._set(Examples.from_tensors(tensors))
        self.arrived, self.since = data["arrived"], data["since"]

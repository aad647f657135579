"""The newest examples that were trained on, from which an alarm can be answered with what came after the drift."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import compress
from typing import Any

import torch

from driftline.learning.examples import Examples, RowChange
from driftline.learning.replay.buffers import SlidingWindow
from driftline.learning.stateful import State, Stateful
from driftline.networks.served_model import ServedModel


class RecentWindow(Stateful):
    """At most ``size`` examples, each with its log number."""

    STATE = ("examples", "numbers")

    def __init__(self, size: int, empty: Examples) -> None:
        self.examples = SlidingWindow(size, empty)
        self.numbers: deque[int] = deque(maxlen=size)

    @property
    def is_kept(self) -> bool:
        return self.examples.size > 0

    def add(self, new: Examples, numbers: Sequence[int]) -> None:
        """Takes rows in; the oldest go."""
        self.examples.add(new)
        self.numbers.extend(numbers)

    def since(self, n: int) -> Examples:
        """Those from log number ``n`` on, oldest first."""
        is_newer = torch.tensor([number >= n for number in self.numbers], dtype=torch.bool)
        return self.examples.current().take(is_newer)

    def revise(self, corrected: Examples) -> None:
        """Gives the rows of these facts the labels that they have now."""
        self.examples.revise(corrected)

    def carry(self, change: RowChange) -> None:
        """Brings rows to what they would be now."""
        self.examples.carry(change)

    def keep_answered(self, module: ServedModel) -> None:
        """Keeps the examples of classes that the module answers."""
        kept = self.examples.current()
        numbers = list(compress(self.numbers, module.answers(kept.targets).tolist()))
        self.examples = SlidingWindow(self.examples.size, kept.take(slice(0, 0)))
        self.numbers.clear()
        self.add(kept.answered_by(module).without_notes(), numbers)

    def packed(self, name: str) -> Any:
        # In their order, whatever slots they are in.
        return State(self.examples.current().tensors(), {}) if name == "examples" else super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if name != "examples":
            return super().restored(name, state)
        rows = Examples.from_tensors(state.below("examples").tensors)
        window = SlidingWindow(self.examples.size, rows.take(slice(0, 0)))
        window.add(rows)
        return window

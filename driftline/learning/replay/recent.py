"""The newest examples that were trained on, so that an alarm can be acted on with what came after the change."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import compress
from typing import Any

import torch

from driftline.learning.examples import Examples
from driftline.learning.replay.buffers import SlidingWindow
from driftline.learning.stateful import State, Stateful, part


class RecentWindow(Stateful):
    """At most ``size`` examples, each with its log number."""

    STATE = ("numbers", "examples")

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

    def reclass(self, indices: Sequence[int | None]) -> None:
        """Counts classes by their new indices; examples of those that are gone go."""
        kept = self.examples.current()
        numbers = list(compress(self.numbers, kept.stay(indices).tolist()))
        self.examples = SlidingWindow(self.examples.size, kept.take(slice(0, 0)))
        self.numbers.clear()
        self.add(kept.reclassed(indices), numbers)

    def packed(self, name: str) -> Any:
        return State(self.examples.current().tensors(), {}) if name == "examples" else super().packed(name)

    def load_state_dict(self, state: State) -> None:
        self.add(Examples.from_tensors(part(state.tensors, "examples")), state.data["numbers"])

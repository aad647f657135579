"""The newest examples that were trained on, so that an alarm can be answered from what came behind the change."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import compress

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.replay.buffers import SlidingWindow


class RecentWindow:
    """At most ``size`` examples, each with its log number."""

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

    def tensors(self) -> dict[str, Tensor]:
        return self.examples.current().tensors()

    def data(self) -> list[int]:
        return list(self.numbers)

    def load(self, tensors: Mapping[str, Tensor], numbers: Sequence[int]) -> None:
        """Sets the state that :meth:`tensors` and :meth:`data` gave."""
        self.add(Examples.from_tensors(tensors), numbers)

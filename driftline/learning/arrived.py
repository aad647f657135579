"""The labels of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from driftline.learning.examples import Examples
from driftline.records import Item


@dataclass(frozen=True)
class Arrived:
    """Items in the order of the log, their log numbers, and the same as tensors."""

    numbers: list[int]
    items: list[Item]
    examples: Examples

    def __len__(self) -> int:
        return len(self.items)

    def where(self, is_chosen: Sequence[bool]) -> Arrived:
        """Those that are chosen."""
        if all(is_chosen):
            return self
        rows = [row for row, chosen in enumerate(is_chosen) if chosen]
        examples = self.examples.take(torch.tensor(rows, dtype=torch.int64))
        return Arrived([self.numbers[row] for row in rows], [self.items[row] for row in rows], examples)

"""How the numbers of a regression's answer stand: a value for each output, then the ends of each one's interval."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class ValueLayout:
    """The numbers of a regression's answer.

    Args:
        outputs: how many values there are. ``has_several``: they are shown as several, even if it is one.
        names: what the outputs are called; None where they have only their order.
        levels: those of the ends of an interval, rising; none where there are no intervals.
    """

    outputs: int = 1
    has_several: bool = False
    names: tuple[str, ...] | None = None
    levels: tuple[float, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether an answer is one number and nothing beside it."""
        return not self.has_several and not self.levels

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What each output is called in metrics: its name, or its place."""
        return self.names or tuple(map(str, range(self.outputs)))

    @cached_property
    def name_texts(self) -> list[bytes]:
        """Each output's name as JSON."""
        return [json.dumps(name).encode() for name in self.labels]

    def by_output(self, values: Sequence[Any]) -> Any:
        """One value for each output, as the API has them: by name, or in order."""
        return list(values) if self.names is None else dict(zip(self.names, values, strict=True))

    def ends(self, numbers: Sequence[float]) -> list[list[float]]:
        """The ends of the interval of each output; none where too few labels are known, or there are no intervals."""
        found = list(numbers[self.outputs :])
        if not found or math.isnan(found[0]):
            return []
        size = len(self.levels)
        return [found[first : first + size] for first in range(0, len(found), size)]

    def shown(self, numbers: Sequence[float]) -> dict[str, Any]:
        """An answer as the API has it: ``value`` or ``values``, and ``interval`` where there are levels."""
        ends: Sequence[list[float] | None] = self.ends(numbers) or [None] * self.outputs
        if not self.has_several:
            return {"value": numbers[0]} | ({"interval": ends[0]} if self.levels else {})
        values = {"values": self.by_output(list(numbers[: self.outputs]))}
        return values | ({"interval": self.by_output(ends)} if self.levels else {})

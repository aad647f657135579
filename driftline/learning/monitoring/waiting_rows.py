"""Rows that are put together only when somebody looks at them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class WaitingRows:
    """Rows ``[rows, *shape]`` by name that come a few at a time; to put them together each time would cost more."""

    def __init__(self) -> None:
        self._parts: list[Mapping[str, Tensor]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Mapping[str, Tensor], count: int) -> None:
        """Keeps ``count`` rows, after those before."""
        if count:
            self._parts.append(rows)
            self._count += count

    @property
    def joined(self) -> dict[str, Tensor]:
        """All of them, in order; without a name where there are none."""
        if len(self._parts) > 1:
            names = self._parts[0]
            self._parts = [{name: torch.cat([part[name] for part in self._parts]) for name in names}]
        return dict(self._parts[0]) if self._parts else {}

    def taken(self) -> dict[str, Tensor]:
        """All of them, which wait no longer."""
        found = self.joined
        self.clear()
        return found

    def clear(self) -> None:
        """Forgets them."""
        self._parts, self._count = [], 0

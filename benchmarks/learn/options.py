"""The options of all tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Args:
    rows: at most so many of a stream; None: all.
    seeds: how many; figures are their means.
    environments: the folder of the peers' environments. ``results``: that of the cached results.
    elec2: a CSV file of it, with the label in its last column; None: River downloads it.
    fashion: the folder of Fashion-MNIST's four files.
    only: the contenders that are measured; none: all.
    """

    rows: int | None
    seeds: int
    environments: Path
    results: Path
    elec2: Path | None
    fashion: Path
    only: frozenset[str]

    def wants(self, name: str) -> bool:
        return not self.only or name in self.only

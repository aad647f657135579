"""Which rows are alike: rows as points, and the newest ones of each labeller, which others are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.stateful import Stateful
from driftline.spec.row_layout import CATEGORIES, STATISTICS, TEXTS

Floats = NDArray[np.float64]
MAX_DIMENSIONS = 64
"""Wider rows are projected: distances stay about what they are (Johnson and Lindenstrauss 1984)."""
KEY_DIMENSIONS = 4
"""A category is a point of so many numbers, which depends on its key alone."""
LIKE_QUANTILE = 0.8
"""Rows are alike where they are as near as this share of rows is to the nearest one of somebody else."""
MIN_GAPS = 30
FARTHEST = 8.0
SCALED_EVERY = 64
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


def points_of(inputs: Mapping[str, Tensor]) -> Floats:
    """Coded rows as points ``[rows, dimensions]``; numbers that are missing are NaN."""
    parts = [_part(name, value) for name, value in inputs.items() if name != STATISTICS]
    points = np.concatenate(parts, 1) if len(parts) > 1 else parts[0]
    if points.shape[1] > MAX_DIMENSIONS:
        random = np.random.default_rng(points.shape[1])
        points = np.nan_to_num(points) @ random.normal(size=(points.shape[1], MAX_DIMENSIONS)) / MAX_DIMENSIONS**0.5
    return np.asarray(points, np.float64)


def _part(name: str, value: Tensor) -> Floats:
    rows = value.reshape(len(value), -1)
    if name == CATEGORIES:
        return _of_keys(rows).reshape(len(rows), -1)
    if name == TEXTS:
        return np.asarray(_of_keys(rows).mean(1))
    return np.asarray(rows.double().numpy())


def _of_keys(keys: Tensor) -> Floats:
    """Keys ``[rows, width]`` as points ``[rows, width, KEY_DIMENSIONS]``, between -1 and 1."""
    turned = keys.numpy().astype(np.int64).view(np.uint64)[:, :, None] * _FACTORS
    return np.asarray((turned >> np.uint64(32)).astype(np.float64) / 2**31 - 1)


@dataclass(frozen=True)
class Nearest:
    """Of each row, what is nearest among the rows of each labeller: ``places`` ``[rows, labellers]`` and ``gaps``, how far
    these are; ``owners`` are the labellers ``[labellers]``.
    """

    owners: NDArray[np.int64]
    places: NDArray[np.int64]
    gaps: Floats


class ReferenceRows(Stateful):
    """The newest rows of the labellers that are trusted, as many of each as there is room for.

    Of each it is known: its point ``[rows, dimensions]``, its target ``[rows, width]``, its labeller, its log number; how far
    the nearest row of another labeller was when it came, how much its label differed from those of others on like rows and
    from what was served, and whether it contradicted both (NaN where it could not be compared).
    """

    STATE = (
        "points",
        "targets",
        "owners",
        "numbers",
        "gaps",
        "distances",
        "errors",
        "contradicts",
        "center",
        "spread",
        "added",
    )
    DERIVED = ("size",)
    COLUMNS = ("points", "targets", "owners", "numbers", "gaps", "distances", "errors", "contradicts")

    def __init__(self, size: int = 1000) -> None:
        self.size = size
        none = torch.zeros(0, dtype=torch.float64)
        self.points = self.targets = torch.zeros((0, 0), dtype=torch.float64)
        self.owners = self.numbers = torch.zeros(0, dtype=torch.int64)
        self.gaps = self.distances = self.errors = self.contradicts = none
        self.center = self.spread = none
        self.added = 0

    def __len__(self) -> int:
        return len(self.owners)

    def are_like(self, points: Floats, targets: Floats) -> bool:
        """Whether there are rows of the same fields, and labels of the same width."""
        shapes = self.points.shape[1:] == points.shape[1:], self.targets.shape[1:] == targets.shape[1:]
        return len(self) > 0 and all(shapes)

    def nearest(self, points: Floats) -> Nearest:
        """What is nearest to each row of ``points`` ``[rows, dimensions]``."""
        own, rows = self._scaled(self.points.numpy()), self._scaled(points)
        squares = (rows**2).sum(1)[:, None] + (own**2).sum(1)[None] - 2 * rows @ own.T
        owners = self.owners.numpy()
        present = np.unique(owners)
        places = np.zeros((len(points), len(present)), np.int64)
        gaps = np.full((len(points), len(present)), np.inf)
        for column, owner in enumerate(present):
            candidates = np.flatnonzero(owners == owner)
            part = squares[:, candidates]
            best = part.argmin(1)
            places[:, column] = candidates[best]
            gaps[:, column] = np.sqrt(np.maximum(part[np.arange(len(points)), best], 0))
        return Nearest(present, places, gaps)

    @property
    def like_gap(self) -> float:
        """How far rows are apart at most that are alike; nothing is while too little is known."""
        known = self.gaps.numpy()
        known = known[np.isfinite(known)]
        return float(np.quantile(known, LIKE_QUANTILE)) if len(known) >= MIN_GAPS else -1.0

    def _scaled(self, points: Floats) -> Floats:
        if not len(self.center):
            return np.nan_to_num(points)
        scaled = (points - self.center.numpy()) / self.spread.numpy()
        return np.asarray(np.clip(np.nan_to_num(scaled), -FARTHEST, FARTHEST))

    def add(self, **columns: NDArray[np.float64] | NDArray[np.int64]) -> None:
        """Takes rows in, in their order; the oldest of the labellers with the most rows go."""
        for name in self.COLUMNS:
            new, known = torch.from_numpy(np.ascontiguousarray(columns[name])), getattr(self, name)
            fits = known.shape[1:] == new.shape[1:]
            setattr(self, name, torch.cat([known, new]) if fits else new)
        if len({len(getattr(self, name)) for name in self.COLUMNS}) > 1:
            # Rows have other fields, or labels another width, than before: nothing former is like them.
            for name in self.COLUMNS:
                setattr(self, name, getattr(self, name)[-len(columns["owners"]) :])
        before, self.added = self.added, self.added + len(columns["owners"])
        if len(self) > self.size:
            self._keep(self._newest_of_each())
        if before // SCALED_EVERY != self.added // SCALED_EVERY or not len(self.center):
            self._rescale()

    def _newest_of_each(self) -> Tensor:
        """Which rows stay: of each labeller the newest, as many as let all fit."""
        owners = self.owners.numpy()
        counts = np.bincount(owners)
        low, high = 0, int(counts.max())
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if np.minimum(counts, middle).sum() <= self.size else (low, middle - 1)
        later = np.zeros(len(owners), np.int64)
        for owner in np.flatnonzero(counts):
            own = np.flatnonzero(owners == owner)
            later[own] = np.arange(len(own))[::-1]
        return torch.from_numpy(later < low)

    def _rescale(self) -> None:
        """The units of features: their median, and the mean distance from it."""
        points = self.points.numpy()
        known = np.where(np.isfinite(points), points, np.nan)
        with np.errstate(all="ignore"):
            center = np.nan_to_num(np.nanmedian(known, 0)) if known.shape[1] else np.zeros(0)
            spread = np.nan_to_num(np.nanmean(np.abs(known - center), 0)) if known.shape[1] else np.zeros(0)
        self.center = torch.from_numpy(center)
        self.spread = torch.from_numpy(np.where(spread > 0, spread, 1.0))

    def leave_out(self, numbers: Tensor) -> None:
        """Forgets rows."""
        self._keep(~torch.isin(self.numbers, numbers))

    def _keep(self, stays: Tensor) -> None:
        for name in self.COLUMNS:
            setattr(self, name, getattr(self, name)[stays])

"""Which rows are alike: rows as points, and the newest ones of each labeller, which others are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.stateful import State, Stateful
from driftline.networks.kernels.labellers import in_units, nearest_of_each, newest_of_each
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
    DERIVED = ("size", "_near")
    COLUMNS = ("points", "targets", "owners", "numbers", "gaps", "distances", "errors", "contradicts")

    def __init__(self, size: int = 1000) -> None:
        self.size = size
        none = np.zeros(0)
        self.points = self.targets = np.zeros((0, 0))
        self.owners = self.numbers = np.zeros(0, np.int64)
        self.gaps = self.distances = self.errors = self.contradicts = none
        self.center = self.spread = none
        self.added = 0
        self._near: tuple[Floats, Floats] | None = None
        """Points in their units, and the squared norms of these; None: to be computed."""

    def __len__(self) -> int:
        return len(self.owners)

    def are_like(self, points: Floats, targets: Floats) -> bool:
        """Whether there are rows of the same fields, and labels of the same width."""
        shapes = self.points.shape[1:] == points.shape[1:], self.targets.shape[1:] == targets.shape[1:]
        return len(self) > 0 and all(shapes)

    def nearest(self, points: Floats) -> Nearest:
        """What is nearest to each row of ``points`` ``[rows, dimensions]``."""
        rows, norms = self._measured(points)
        self._near = own, own_norms = self._near or self._measured(self.points)
        return Nearest(*nearest_of_each(2 * rows @ own.T, norms, own_norms, self.owners))

    @property
    def like_gap(self) -> float:
        """How far rows are apart at most that are alike; nothing is while too little is known."""
        known = self.gaps[np.isfinite(self.gaps)]
        return _quantile(known, LIKE_QUANTILE) if len(known) >= MIN_GAPS else -1.0

    def _measured(self, points: Floats) -> tuple[Floats, Floats]:
        """Points ``[rows, dimensions]`` in the units of features, and their squared norms ``[rows]``."""
        scaled = in_units(np.ascontiguousarray(points), self.center, self.spread, FARTHEST)
        return scaled, np.asarray((scaled**2).sum(1))

    def add(self, **columns: NDArray[Any]) -> None:
        """Takes rows in, in their order; the oldest of the labellers with the most rows go."""
        if not self.are_like(columns["points"], columns["targets"]):
            # Rows have other fields, or labels another width, than before: nothing former is like them.
            self._set({name: columns[name] for name in self.COLUMNS}, None)
            self._near = None
        else:
            if self._near is not None:
                new = self._measured(columns["points"])
                self._near = np.concatenate([self._near[0], new[0]]), np.concatenate([self._near[1], new[1]])
            self._set({name: np.concatenate([getattr(self, name), columns[name]]) for name in self.COLUMNS}, None)
        if len(self) > self.size:
            self._set(vars(self), newest_of_each(self.owners, self.size))
        before, self.added = self.added, self.added + len(columns["owners"])
        if before // SCALED_EVERY != self.added // SCALED_EVERY or len(self.center) != self.points.shape[1]:
            self._rescale()

    def _rescale(self) -> None:
        """The units of features: their median, and the mean distance from it."""
        points = self.points
        is_known = np.isfinite(points)
        if is_known.all() and points.size:
            center = np.median(points, 0)  # The same, and sooner found.
            spread = np.abs(points - center).mean(0)
        else:
            known = np.where(is_known, points, np.nan)
            with np.errstate(all="ignore"):
                center = np.nan_to_num(np.nanmedian(known, 0)) if known.shape[1] else np.zeros(0)
                spread = np.nan_to_num(np.nanmean(np.abs(known - center), 0)) if known.shape[1] else np.zeros(0)
        self.center, self.spread = center, np.where(spread > 0, spread, 1.0)
        self._near = None

    def leave_out(self, numbers: NDArray[np.int64]) -> None:
        """Forgets rows."""
        self._set(vars(self), np.flatnonzero(~np.isin(self.numbers, numbers)))

    def _set(self, columns: Mapping[str, NDArray[Any]], places: NDArray[np.int64] | None) -> None:
        """Keeps the rows of these places; None: all."""
        for name in self.COLUMNS:
            setattr(self, name, columns[name] if places is None else columns[name].take(places, 0))
        if places is not None and self._near is not None:
            self._near = self._near[0].take(places, 0), self._near[1].take(places)

    def packed(self, name: str) -> Any:
        value = getattr(self, name)
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    def restored(self, name: str, state: State) -> Any:
        return state.tensors[name].numpy().copy() if name in state.tensors else super().restored(name, state)

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._near = None


def _quantile(values: Floats, share: float) -> float:
    """As :func:`numpy.quantile` interpolates, in a fifth of its time for a thousand values."""
    place = (len(values) - 1) * share
    before = int(place)
    after = min(before + 1, len(values) - 1)
    ordered = np.partition(values, (before, after))
    low, high = float(ordered[before]), float(ordered[after])
    between = place - before
    # From whichever is nearer, so that it is exact at both ends.
    return low + (high - low) * between if between < 0.5 else high - (high - low) * (1 - between)

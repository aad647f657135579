"""How far labels agree with those of others on like rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.trust.labeller import Labeller
from driftline.learning.trust.likeness import Floats, ReferenceRows
from driftline.networks.kernels.labellers import classes_of_others, like_rows, newest_marks

FAR = 3.0
"""Values contradict others' where they differ by more than so many times what they most often do."""
WRONG = 2.0
POOLED, MIN_POOLED = 32, 10
"""The newest labels of others that say how often they are contradicted just now, as when a drift begins."""
SHRINKAGE = 8.0
"""So many labels does the rate of all count beside those on like rows."""


@dataclass(frozen=True)
class MeasuredLabels:
    """Labels by their ``numbers`` ``[rows]``: rows as ``points`` ``[rows, dimensions]``, and ``targets`` ``[rows, width]``.

    ``errors`` ``[rows]`` say how wrong what was served was. Where a label is one class, ``served`` ``[rows]`` are the ids of
    those that were served, NaN where there was none; else it is None. ``inputs`` are the rows as a learner has them.
    """

    numbers: NDArray[np.int64]
    points: Floats
    targets: Floats
    errors: Floats
    served: Floats | None
    inputs: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class Compared:
    """Of each label ``[rows]``: whether it ``contradicts`` both others and what was served (1, else 0; NaN where it cannot be
    compared); how many labels of others on like rows could be compared (``heard``), and how many of these contradicted
    (``local``); the ``distances`` from others' labels and the ``gaps`` to their rows; and whether its row has come from the
    same labeller before (``repeated``), with another label (``changed``).
    """

    contradicts: Floats
    heard: Floats
    local: Floats
    distances: Floats
    gaps: Floats
    repeated: NDArray[np.bool_]
    changed: NDArray[np.bool_]


class Circle:
    """The labellers, and who of them is another one: where at least three API keys label, the sources of one key are not."""

    def __init__(self, labellers: Sequence[Labeller]) -> None:
        names = {caller: place for place, caller in enumerate(dict.fromkeys(each.caller for each in labellers))}
        by_key = len(names) > 2
        self.names = [names[each.caller] if by_key else place for place, each in enumerate(labellers)]
        self.groups = np.array(self.names)
        self.voices = 1.0 / np.bincount(self.groups)[self.groups]
        """How much each says: a key with many sources as much as any other."""

    def others(self, owner: int, owners: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these are others than ``owner``."""
        return np.asarray(self.groups[owners] != self.groups[owner])


def compare(rows: ReferenceRows, measured: MeasuredLabels, owners: NDArray[np.int64], circle: Circle) -> Compared:
    """Compares labels of ``owners`` ``[rows]`` with those of others among the reference rows."""
    if not rows.are_like(measured.points, measured.targets):
        unknown, none = np.full(len(owners), np.nan), np.zeros(len(owners), np.bool_)
        nothing = np.zeros(len(owners))
        return Compared(unknown, nothing, nothing, unknown, np.full(len(owners), np.inf), none, none)
    nearest = rows.nearest(measured.points)
    voices, heard, local, gaps, own = like_rows(
        owners,
        circle.groups,
        nearest.owners,
        circle.voices,
        nearest.places,
        nearest.gaps,
        rows.like_gap,
        rows.contradicts,
    )
    if measured.served is not None:
        labels = np.ascontiguousarray(measured.targets[:, 0])
        contradicts, distances = classes_of_others(voices, nearest.places, rows.targets, measured.served, labels)
    else:
        contradicts, distances = _by_value(rows, measured, voices, rows.targets[nearest.places])
    is_repeated = own >= 0
    is_changed = is_repeated & (rows.targets[own] != measured.targets).any(1)
    return Compared(contradicts, heard, local, distances, gaps, is_repeated, is_changed)


def _by_value(rows: ReferenceRows, measured: MeasuredLabels, voices: Floats, theirs: Floats) -> tuple[Floats, Floats]:
    """Values contradict where they are farther than usual both from the mean of the others and from what was served."""
    total = voices.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (voices[:, :, None] * theirs).sum(1) / total[:, None]
    distances = np.abs(means - measured.targets).mean(1)
    is_far = differing(rows, distances, are_classes=False)
    is_wrong = measured.errors > WRONG * _median(rows.errors, measured.errors)
    contradicts = np.where(total > 0, (is_far & is_wrong).astype(np.float64), np.nan)
    return contradicts, distances


def differing(rows: ReferenceRows, distances: Floats, are_classes: bool) -> NDArray[np.bool_]:
    """Which labels, so far from those of others on like rows, are other ones."""
    if are_classes:
        return np.asarray(np.nan_to_num(distances) > 0.5)
    return np.asarray(np.nan_to_num(distances) > FAR * _median(rows.distances, distances))


def _median(known: Floats, new: Floats) -> float:
    found = known[np.isfinite(known)]
    found = found if len(found) else new[np.isfinite(new)]
    return float(np.median(found)) if len(found) else np.inf


def newest_contradictions(
    rows: ReferenceRows, contradicts: Floats, owners: NDArray[np.int64], circle: Circle
) -> list[tuple[int, float]]:
    """For each labeller, how many of the newest labels of others could be compared, those ``[rows]`` of ``owners`` ``[rows]``
    that come now included, and how many of them contradicted.
    """
    counts, totals = newest_marks(rows.owners, rows.contradicts, owners, contradicts, circle.groups, POOLED)
    return list(zip(counts.tolist(), totals.tolist(), strict=True))


def expected_rate(owner: int, rates: Sequence[float | None], circle: Circle, newest: tuple[int, float]) -> float:
    """How often others than ``owner`` contradict each other: of late, or, where that is more and beyond chance, just now; NaN
    while too little is known.

    Args:
        rates: of each labeller, how often it contradicts others of late; None where that is not known, or it is set aside.
        newest: of the newest labels of others, how many could be compared, and how many of these contradicted.
    """
    count, contradicted = newest
    if count < MIN_POOLED:
        return math.nan
    now, groups = contradicted / count, circle.names
    known = [rate for rate, other in zip(rates, groups, strict=True) if rate is not None and other != groups[owner]]
    if not known:
        return now
    of_late = statistics.median(known)
    chance = 2 * math.sqrt(max(of_late * (1 - of_late), 0.02) / count)
    return now if now > of_late + chance else of_late

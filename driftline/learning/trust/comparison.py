"""How far labels agree with those of others on like rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline.learning.trust.labeller import Labeller
from driftline.learning.trust.likeness import Floats, Nearest, ReferenceRows

FAR = 3.0
"""Values contradict others' where they differ by more than so many times what they most often do."""
WRONG = 2.0
POOLED, MIN_POOLED = 32, 10
"""The newest labels of others that say how often they are contradicted just now, as when a drift begins."""
MIN_OF_CLASS, NEWEST_OF_CLASS, CAUTION = 5, 16, 2
SHRINKAGE = 8.0
"""So many labels does the rate of all count beside those on like rows."""


@dataclass(frozen=True)
class MeasuredLabels:
    """Labels by their ``numbers`` ``[rows]``: rows as ``points`` ``[rows, dimensions]``, and ``targets`` ``[rows, width]``.

    ``errors`` ``[rows]`` say how wrong what was served was. Where a label is one class, ``served`` ``[rows]`` are the ids of
    those that were served, NaN where there was none; else it is None.
    """

    numbers: NDArray[np.int64]
    points: Floats
    targets: Floats
    errors: Floats
    served: Floats | None


@dataclass(frozen=True)
class Compared:
    """Of each label ``[rows]``: whether it ``contradicts`` both others and what was served (1, else 0; NaN where it cannot be
    compared); which class others ``said`` of its row (its id; NaN where they say none most, or labels are values); how many
    labels of others on like rows could be compared (``heard``), and how many of these contradicted (``local``); the
    ``distances`` from others' labels and the ``gaps`` to their rows; and whether its row has come from the same labeller before
    (``repeated``), with another label (``changed``).
    """

    contradicts: Floats
    said: Floats
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
        self.groups = np.array([names[each.caller] if by_key else place for place, each in enumerate(labellers)])
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
        return Compared(unknown, unknown, nothing, nothing, unknown, np.full(len(owners), np.inf), none, none)
    nearest = rows.nearest(measured.points)
    is_other = circle.groups[nearest.owners][None] != circle.groups[owners][:, None]
    like = is_other & (nearest.gaps <= rows.like_gap)
    voices = like * circle.voices[nearest.owners]
    theirs = rows.targets.numpy()[nearest.places]
    if measured.served is not None:
        said, contradicts, distances = _by_class(measured, voices, theirs[:, :, 0])
    else:
        contradicts, distances = _by_value(rows, measured, voices, theirs)
        said = np.full(len(owners), np.nan)
    marks = rows.contradicts.numpy()[nearest.places]
    is_heard = like & np.isfinite(marks)
    return Compared(
        contradicts,
        said,
        is_heard.sum(1).astype(np.float64),
        (is_heard * np.nan_to_num(marks)).sum(1),
        distances,
        np.where(is_other, nearest.gaps, np.inf).min(1),
        *_repeated(rows, nearest, measured, owners),
    )


def _by_class(measured: MeasuredLabels, voices: Floats, theirs: Floats) -> tuple[Floats, Floats, Floats]:
    """What others say of each row, by more of them than any other class, NaN where there is none such; whether the label says
    another one, where the class that was served says the same as they; and the share of them that say another one than the
    label.
    """
    assert measured.served is not None
    own, total = measured.targets[:, 0], voices.sum(1)
    support = (voices[:, None, :] * (theirs[:, :, None] == theirs[:, None, :])).sum(2) * (voices > 0)
    most = theirs[np.arange(len(own)), support.argmax(1)]
    of_most, of_another = support.max(1), np.where(theirs == most[:, None], 0, support).max(1)
    said = np.where(of_most > of_another, most, np.nan)
    contradicts = np.where(said == measured.served, (said != own).astype(np.float64), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = (voices * (theirs != own[:, None])).sum(1) / total
    return said, contradicts, distances


def _by_value(rows: ReferenceRows, measured: MeasuredLabels, voices: Floats, theirs: Floats) -> tuple[Floats, Floats]:
    """Values contradict where they are farther than usual both from the mean of the others and from what was served."""
    total = voices.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (voices[:, :, None] * theirs).sum(1) / total[:, None]
    distances = np.abs(means - measured.targets).mean(1)
    is_far = differing(rows, distances, are_classes=False)
    is_wrong = measured.errors > WRONG * _median(rows.errors.numpy(), measured.errors)
    contradicts = np.where(total > 0, (is_far & is_wrong).astype(np.float64), np.nan)
    return contradicts, distances


def differing(rows: ReferenceRows, distances: Floats, are_classes: bool) -> NDArray[np.bool_]:
    """Which labels, so far from those of others on like rows, are other ones."""
    if are_classes:
        return np.asarray(np.nan_to_num(distances) > 0.5)
    return np.asarray(np.nan_to_num(distances) > FAR * _median(rows.distances.numpy(), distances))


def _median(known: Floats, new: Floats) -> float:
    found = known[np.isfinite(known)]
    found = found if len(found) else new[np.isfinite(new)]
    return float(np.median(found)) if len(found) else np.inf


def _repeated(
    rows: ReferenceRows, nearest: Nearest, measured: MeasuredLabels, owners: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each row has come from the same labeller before, and with another label."""
    own = nearest.owners[None] == owners[:, None]
    repeated = (own & (nearest.gaps < 1e-6)).any(1)
    places = np.where(own, nearest.places, -1).max(1)
    return repeated, repeated & (rows.targets.numpy()[places] != measured.targets).any(1)


@dataclass(frozen=True)
class Marks:
    """Of the newest labels ``[rows]`` of all, in their order: whose they are, their targets, and what :class:`Compared` has."""

    owners: NDArray[np.int64]
    contradicts: Floats
    targets: Floats
    said: Floats

    def chance(self, target: float, said: float, is_served: bool, owner: int, circle: Circle) -> float | None:
        """How often at most another one than ``owner`` says a class of rows of which others say the class ``said``, and it was
        served or not: whoever says so most often. None while too little is known.

        Of few it is told with caution, by two more of each (Agresti and Coull 1998); of one alone by what all others say, as
        much as four labels of its own.
        """
        is_like = (self.said == said) & (np.isfinite(self.contradicts) == is_served)
        is_like &= circle.others(owner, self.owners)
        says, owners = self.targets[is_like] == target, self.owners[is_like]
        if len(says) < MIN_OF_CLASS:
            return None
        newest = says[-NEWEST_OF_CLASS:]
        usual = max((part.sum() + CAUTION) / (len(part) + 2 * CAUTION) for part in (says, newest))
        counts, said_so = np.bincount(owners), np.bincount(owners, weights=says)
        return float(max(usual, ((said_so + 2 * CAUTION * usual) / (counts + 2 * CAUTION)).max()))


def expected_rate(owner: int, labellers: Sequence[Labeller], circle: Circle, marks: Marks) -> float:
    """How often others than ``owner`` contradict each other: of late, or, where that is more and beyond chance, just now; NaN
    while too little is known.
    """
    newest = marks.contradicts[circle.others(owner, marks.owners) & np.isfinite(marks.contradicts)][-POOLED:]
    if len(newest) < MIN_POOLED:
        return np.nan
    now = float(newest.mean())
    is_other = circle.others(owner, np.arange(len(labellers)))
    rates = [each.rate for each, other in zip(labellers, is_other, strict=True) if other and each.is_learned]
    known = [rate for rate in rates if rate is not None]
    if not known:
        return now
    of_late = float(np.median(known))
    chance = 2 * math.sqrt(max(of_late * (1 - of_late), 0.02) / len(newest))
    return now if now > of_late + chance else of_late

"""The rows of each labeller: which are nearest, which are newest, and what the newest ones of others say."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftline.networks.kernels.compiled import D1, D2, DOUBLE, I1, I2, INT, kernel


@kernel(D2, D1, D1, I1)
def nearest_of_each(products: Any, norms: Any, own_norms: Any, owners: Any) -> Any:
    """Of each row, what is nearest among those of each labeller; of equally near ones the first.

    Args:
        products: twice the products ``[rows, known]`` of rows and those that are known.
        norms: the squared norms ``[rows]`` of rows; ``own_norms`` ``[known]`` of those that are known.
        owners: whose these are ``[known]``.

    Returns:
        The ``labellers`` ``[labellers]`` that have rows, in order, and ``places`` and distances ``[rows, labellers]``.
    """
    counts = np.bincount(owners)
    labellers = np.flatnonzero(counts)
    columns = np.zeros(len(counts), np.int64)
    columns[labellers] = np.arange(len(labellers))
    places = np.zeros((len(norms), len(labellers)), np.int64)
    gaps = np.full((len(norms), len(labellers)), np.inf)
    for row in range(len(norms)):
        for i in range(len(owners)):
            square = (norms[row] + own_norms[i]) - products[row, i]
            column = columns[owners[i]]
            if square < gaps[row, column]:
                gaps[row, column] = square
                places[row, column] = i
    return labellers, places, np.sqrt(np.maximum(gaps, 0.0))


@kernel(I1, INT)
def newest_of_each(owners: Any, size: int) -> Any:
    """The places of rows that stay, in order: of each labeller its newest, as many of each as let all be ``size`` at most.

    Args:
        owners: whose each row is ``[rows]``, from the oldest to the newest.
    """
    counts = np.bincount(owners)
    low, high = 0, counts.max()
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(counts, middle).sum() <= size:
            low = middle
        else:
            high = middle - 1
    kept, stays = np.zeros(len(counts), np.int64), np.zeros(len(owners), np.bool_)
    for i in range(len(owners) - 1, -1, -1):
        kept[owners[i]] += 1
        stays[i] = kept[owners[i]] <= low
    return np.flatnonzero(stays)


@kernel(I1, D1, I1, D1, I1, INT)
def newest_marks(known: Any, known_marks: Any, owners: Any, marks: Any, groups: Any, most: int) -> Any:
    """For each labeller, how many of the newest marks of labellers of other groups there are, and their sum.

    Args:
        known: whose each known mark is ``[known]``, from the oldest to the newest; ``known_marks`` ``[known]`` are these, NaN
            where there is none.
        owners: the same of the marks ``[rows]`` that have come since.
        groups: the group of each labeller ``[labellers]``.
        most: so many are looked at, at most.
    """
    counts, totals = np.zeros(len(groups), np.int64), np.zeros(len(groups))
    for labeller in range(len(groups)):
        for i in range(len(owners) + len(known) - 1, -1, -1):
            if counts[labeller] == most:
                break
            is_new = i >= len(known)
            owner = owners[i - len(known)] if is_new else known[i]
            mark = marks[i - len(known)] if is_new else known_marks[i]
            if groups[owner] != groups[labeller] and np.isfinite(mark):
                counts[labeller] += 1
                totals[labeller] += mark
    return counts, totals


@kernel(D2, D1, D1, DOUBLE)
def in_units(points: Any, center: Any, spread: Any, farthest: float) -> Any:
    """Points ``[rows, dimensions]`` in the units of features, ``farthest`` at most, and 0 where they are no numbers.

    Args:
        center: what is 0 ``[dimensions]``; ``spread`` ``[dimensions]`` is the unit.
    """
    scaled = np.zeros(points.shape)
    for row in range(points.shape[0]):
        for column in range(points.shape[1]):
            value = (points[row, column] - center[column]) / spread[column]
            if not np.isnan(value):
                scaled[row, column] = min(max(value, -farthest), farthest)
    return scaled


@kernel(I1, I1, I1, D1, I2, D2, DOUBLE, D1)
def like_rows(
    owners: Any, groups: Any, labellers: Any, voices: Any, places: Any, gaps: Any, like_gap: float, marks: Any
) -> Any:
    """What others have among the rows that are nearest, of these that are like.

    Args:
        owners: whose each row is ``[rows]``; ``groups`` ``[all]`` and ``voices`` ``[all]`` are those of labellers.
        labellers: whose rows are known ``[labellers]``; ``places`` and ``gaps`` ``[rows, labellers]`` are the nearest of each.
        like_gap: rows are alike that are no farther apart.
        marks: whether each known row contradicts others ``[known]``; NaN where that is not known.

    Returns:
        How much each of the others says ``[rows, labellers]``; of the ``marks`` of these how many are known, and their sum
        ``[rows]``; how far the nearest row of another one is ``[rows]``; and where the same row is of the same labeller
        ``[rows]``, else -1.
    """
    said = np.zeros(gaps.shape)
    heard, local = np.zeros(len(owners)), np.zeros(len(owners))
    nearest, own = np.full(len(owners), np.inf), np.full(len(owners), -1)
    for row in range(len(owners)):
        for column in range(len(labellers)):
            labeller, gap, place = labellers[column], gaps[row, column], places[row, column]
            if labeller == owners[row] and gap < 1e-6:
                own[row] = place
            if groups[labeller] == groups[owners[row]]:
                continue
            nearest[row] = min(nearest[row], gap)
            if gap > like_gap:
                continue
            said[row, column] = voices[labeller]
            if np.isfinite(marks[place]):
                heard[row] += 1
                local[row] += marks[place]
    return said, heard, local, nearest, own


@kernel(D2, I2, D2, D1, D1)
def classes_of_others(voices: Any, places: Any, targets: Any, served: Any, labels: Any) -> Any:
    """Whether labels contradict the class that was served, where more of the others say that than any other one.

    Args:
        voices: how much each of the others says ``[rows, labellers]``, and ``places`` ``[rows, labellers]`` where.
        targets: the classes of rows that are known ``[known, 1]``.
        served: those that were served ``[rows]``, NaN where there was none; ``labels`` ``[rows]`` are those that have come.

    Returns:
        1 where a label contradicts, else 0, NaN where that cannot be said ``[rows]``; and the share of the others who say
        another class than the label ``[rows]``.
    """
    contradicts, distances = np.full(len(labels), np.nan), np.zeros(len(labels))
    for row in range(len(labels)):
        total, of_others, of_served, of_another = 0.0, 0.0, 0.0, 0.0
        for column in range(voices.shape[1]):
            said, voice = targets[places[row, column], 0], voices[row, column]
            total += voice
            if said != labels[row]:
                of_others += voice
            if said == served[row]:
                of_served += voice
            elif voice > 0:
                support = 0.0
                for other in range(voices.shape[1]):
                    if targets[places[row, other], 0] == said:
                        support += voices[row, other]
                of_another = max(of_another, support)
        if of_served > of_another:
            contradicts[row] = 1.0 if served[row] != labels[row] else 0.0
        distances[row] = of_others / total
    return contradicts, distances

"""Columns that tell the target: most often they are only known after it."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from driftline.tables.doubt import Doubt

MIN_ROWS: Final = 50
TOLD: Final = 0.995
CORRELATED: Final = 0.9995
MIN_REPEATS: Final = 10
"""Rows a value has on average, at least, to say something: with fewer, many values tell any target."""


def find_leaks(columns: Mapping[str, Sequence[Any]], labels: Sequence[Any], is_regression: bool) -> list[Doubt]:
    """A doubt for each column by whose values nearly every label could be told. Rows without a label are left out."""
    known = [place for place, label in enumerate(labels) if label is not None]
    if len(known) < MIN_ROWS or len({labels[place] for place in known}) < 2:
        return []
    truth = [labels[place] for place in known]
    found = []
    for name, values in columns.items():
        chosen = [values[place] for place in known]
        how = _of_number(chosen, truth) if is_regression else _of_class(chosen, truth)
        if how is not None:
            found.append(Doubt(f"{how}: is it known before the target is?", name, f"--drop {shlex.quote(name)}"))
    return found


def _of_number(values: Sequence[Any], truth: Sequence[float]) -> str | None:
    both = [(value, label) for value, label in zip(values, truth, strict=True) if _is_number(value)]
    if len(both) < MIN_ROWS:
        return None
    pairs = np.asarray(both, dtype=np.float64)
    spread = pairs.std(axis=0)
    if not np.isfinite(spread).all() or not spread.all():
        return None
    correlation = float(((pairs - pairs.mean(axis=0)) / spread).prod(axis=1).mean())
    if abs(correlation) < CORRELATED:
        return None
    return (
        "it is the target"
        if (pairs[:, 0] == pairs[:, 1]).all()
        else f"it is the target on a scale (r = {correlation:.4f})"
    )


def _of_class(values: Sequence[Any], truth: Sequence[Any]) -> str | None:
    usual = Counter(truth).most_common(1)[0][1] / len(truth)
    # That one class has nearly all rows tells nothing of a column.
    bar = max(TOLD, 1 - 0.05 * (1 - usual))
    told = _told(["missing" if value is None else "there" for value in values], truth)
    if told is not None and told >= bar:
        return f"whether it is missing tells {told:.1%} of the labels"
    told = _told(values, truth)
    if told is not None and told >= bar:
        return f"its values tell {told:.1%} of the labels"
    is_number = all(_is_number(value) or value is None for value in values)
    if is_number and len(set(truth)) * MIN_REPEATS <= len(truth) and _are_apart(values, truth):
        return "its numbers of each class lie apart from those of the others"
    return None


def _told(values: Sequence[Any], truth: Sequence[Any]) -> float | None:
    """The share of labels that are the most frequent one of their value; None where values are too many to say."""
    counts: dict[Any, Counter[Any]] = defaultdict(Counter)
    for value, label in zip(values, truth, strict=True):
        counts[repr(value)][label] += 1
    if len(counts) < 2 or len(counts) * MIN_REPEATS > len(truth):
        return None
    return sum(each.most_common(1)[0][1] for each in counts.values()) / len(truth)


def _are_apart(values: Sequence[Any], truth: Sequence[Any]) -> bool:
    ranges: dict[Any, list[float]] = {}
    for value, label in zip(values, truth, strict=True):
        if value is not None:
            low, high = ranges.get(label, (value, value))
            ranges[label] = [min(low, value), max(high, value)]
    ordered = sorted(ranges.values())
    apart = all(before[1] < after[0] for before, after in pairwise(ordered))
    return len(ordered) == len(set(truth)) and apart


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""Streams of numbers to foresee: from River's and scikit-learn's packages, and made."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.environments import Unavailable

GENERATED_ROWS = 5000
Values: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float64]]
"""Rows ``[rows, features]`` and what belongs to each ``[rows]``."""
NAMES = (
    *("ChickWeights", "AirlinePassengers", "TrumpApproval", "WaterFlow", "diabetes"),
    *("Friedman", "Friedman, local", "Friedman, sudden", "Friedman, gradual", "planes", "Mv"),
    *("walking weights", "linear", "season", "heavy tails", "irrelevant"),
)
COLORS = {"red": 0.0, "blue": 1.0, "green": 2.0}


def stream(name: str, rows: int | None) -> Values:
    """The first ``rows`` of a stream; all of a packaged one, or ``GENERATED_ROWS``, where None."""
    try:
        from river import datasets
        from river.datasets import synth
        from sklearn.datasets import load_diabetes
    except ImportError:
        raise Unavailable("the streams come from packages: pip install 'driftline[bench]'") from None
    count = rows or GENERATED_ROWS
    thirds, quarters = (count // 3, 2 * count // 3), (count // 4, count // 2, 3 * count // 4)
    drifts = {
        "Friedman, local": {"drift_type": "lea", "position": quarters},
        "Friedman, sudden": {"drift_type": "gra", "position": thirds},
        "Friedman, gradual": {"drift_type": "gsg", "position": thirds, "transition_window": count // 10},
    }
    if hasattr(datasets, name):
        return _of_river(itertools.islice(getattr(datasets, name)(), rows))
    if name == "diabetes":
        inputs, values = load_diabetes(return_X_y=True)
        order = np.random.default_rng(7).permutation(len(inputs))[:rows]
        return inputs[order].astype(np.float32), values[order]
    if name in drifts:
        return _of_river(synth.FriedmanDrift(seed=1, **drifts[name]).take(count))
    river = {"Friedman": synth.Friedman, "planes": synth.Planes2D, "Mv": synth.Mv}
    return _of_river(river[name](seed=1).take(count)) if name in river else MADE[name](np.random.default_rng(7), count)


def _of_river(pairs: Iterable[tuple[dict[str, Any], float]]) -> Values:
    """Rows of River as numbers: of a time its day, month, weekday, hour and day of the year."""
    rows, values = [], []
    for row, value in pairs:
        rows.append([number for cell in row.values() for number in _numbers(cell)])
        values.append(float(value))
    return np.array(rows, np.float32), np.array(values)


def _numbers(cell: Any) -> list[float]:
    if isinstance(cell, datetime.date):
        hour = getattr(cell, "hour", 0)
        day = cell.timetuple().tm_yday
        return [cell.toordinal() + hour / 24, cell.month, cell.weekday(), hour, day]
    return [COLORS[cell] if cell in COLORS else float(len(cell))] if isinstance(cell, str) else [float(cell)]


def _walking(random: np.random.Generator, rows: int) -> Values:
    """Linear, with weights that walk at random."""
    inputs = random.normal(size=(rows, 10))
    weights = random.normal(size=10) + np.cumsum(random.normal(size=(rows, 10)) * 0.05, 0)
    return inputs.astype(np.float32), (inputs * weights).sum(1) + 0.5 * random.normal(size=rows)


def _linear(random: np.random.Generator, rows: int) -> Values:
    """Linear, and nearly without noise."""
    inputs = random.normal(size=(rows, 8)).astype(np.float32)
    return inputs, inputs.astype(float) @ random.normal(size=8) * 3 + 100 + 0.01 * random.normal(size=rows)


def _season(random: np.random.Generator, rows: int) -> Values:
    """A day, a week, and noise that follows itself."""
    hours, noise = np.arange(rows), np.zeros(rows)
    for row in range(1, rows):
        noise[row] = 0.9 * noise[row - 1] + random.normal()
    weekdays = hours // 24 % 7
    inputs = np.stack([hours % 24, weekdays, random.normal(size=rows)], 1)
    return inputs.astype(np.float32), 10 * np.sin(hours * 2 * np.pi / 24) + 3 * (weekdays > 4) + noise


def _heavy(random: np.random.Generator, rows: int) -> Values:
    """Few large values among many small ones."""
    inputs = random.normal(size=(rows, 6))
    exponents = inputs[:, 0] + 0.5 * inputs[:, 1] * inputs[:, 2] + 0.5 * random.normal(size=rows)
    return inputs.astype(np.float32), 100 * np.exp(exponents)


def _irrelevant(random: np.random.Generator, rows: int) -> Values:
    """Two of twenty numbers matter, together."""
    inputs = random.normal(size=(rows, 20))
    values = 3 * np.where(inputs[:, 0] > 0, inputs[:, 1], -inputs[:, 1])
    return inputs.astype(np.float32), values + random.normal(size=rows)


MADE: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "walking weights": _walking,
    "linear": _linear,
    "season": _season,
    "heavy tails": _heavy,
    "irrelevant": _irrelevant,
}

"""What each part is worth: accuracy without it, in points, on the streams of the tabular table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.common.results import table
from benchmarks.learn.options import Options
from benchmarks.learn.streams import files, played
from benchmarks.learn.tabular import DELAYS
from driftline.learning.strategies import Strategy
from driftline.spec import Recipe


def variants() -> dict[str, dict[str, Any]]:
    """What is changed, by its name: parts of the recipe, and whatever of the default strategy can be left out."""
    strategy = Recipe().strategy
    return {
        "no gate": {"gate": {"mode": "off", "holdout": 0.0}},
        "no detector": {"detector": "none"},
        "memory of 500": {"memory": {"size": 500}},
        "no memory": {"memory": {"size": 0}},
        "one update a batch": {"updates": 1},
        "twice the updates": {"updates": 2 * Recipe().updates},
        **{f"{strategy.name}: {name}": {"strategy": change} for name, change in _without(strategy)},
    }


def _without(strategy: Strategy) -> Iterator[tuple[str, dict[str, Any]]]:
    """The strategy with one of its switches off, or without one member of one of its lists."""
    whole = strategy.model_dump(mode="json")
    for field, value in whole.items():
        if value is True:
            yield f"without {field}", whole | {field: False}
        if isinstance(value, list) and len(value) > 1:
            for member in value:
                yield f"{field} without {member}", whole | {field: [other for other in value if other != member]}


def tables(options: Options) -> list[str]:
    """The change of accuracy by part, for each stream and delay."""
    changes = variants()
    rows, all_points = [], []
    for stream, file in files(options).items():
        for delay in DELAYS:
            whole = _accuracy(options, stream, file, {}, delay)
            points = [100 * (_accuracy(options, stream, file, change, delay) - whole) for change in changes.values()]
            all_points.append(points)
            rows.append([stream, delay, whole, *map(_points, points)])
    means = [sum(column) / len(rows) for column in zip(*all_points, strict=True)]
    header = ["stream", "delay", "all parts", *changes]
    title = "Accuracy with all parts, and by how many points it changes with:"
    return [title, table(header, [*rows, ["mean", "", None, *map(_points, means)]])]


def _points(change: float) -> str:
    return f"{change:+.2f}"


def _accuracy(options: Options, stream: str, file: Any, recipe: dict[str, Any], delay: int) -> float:
    return float(played(options, stream, file, recipe, delay)["accuracy"])

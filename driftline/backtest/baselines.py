"""Baselines: answers that need no model, under the same delay of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from driftline.backtest.arrivals import after_rows
from driftline.backtest.played import Played
from driftline.backtest.stream import Stream
from driftline.records import Label
from driftline.spec.label_set import chosen

BASELINES = frozenset({"no_change", "majority", "last_value", "mean", "as_served"})


def baselines(stream: Stream, delay: int) -> dict[str, Played]:
    """The answers of each baseline, under the same delay of labels; and the served answers, where they are known."""
    arrivals = stream.arrivals or after_rows(stream.labels, delay)
    come = [label for row in arrivals.rows if (label := stream.labels[row]) is not None]
    known = arrivals.known(len(stream)).tolist()
    series: dict[str, list[Label | None]]
    if stream.spec.kind.is_multilabel:
        series = {"no_change": [[], *come], "majority": [[], *_usual_sets(stream.classes, come)]}
    elif stream.spec.kind.has_classes:
        series = {"no_change": [None, *come], "majority": [None, *_majorities(come)]}
    else:
        layout = stream.spec.values
        width = layout.outputs if layout.has_several else 1
        values = np.array(come, np.float64).reshape(len(come), width)
        means = np.cumsum(values, 0) / np.arange(1, len(come) + 1)[:, None]
        first: Label = [0.0] * width if layout.has_several else 0.0
        series = {
            "last_value": [first, *come],
            "mean": [first, *(means if layout.has_several else means[:, 0]).tolist()],
        }
    played = {name: Played([after[count] for count in known]) for name, after in series.items()}
    if stream.served is not None:
        played["as_served"] = Played([stream.served.get(row) for row in range(len(stream))])
    return played


def _usual_sets(classes: Sequence[int | str], labels: Sequence[Any]) -> Iterator[Label]:
    """The classes of at least half of the labels so far, after each label."""
    counts: Counter[int | str] = Counter()
    for seen, label in enumerate(labels, 1):
        counts.update(label)
        usual: Label = [*chosen(classes, [counts[name] / seen for name in classes])]
        yield usual


def _majorities(labels: Sequence[Label]) -> Iterator[Label]:
    """The most frequent label so far, after each label; of equally frequent ones the one that was it before."""
    counts: Counter[Label] = Counter()
    most = None
    for label in labels:
        counts[label] += 1
        if most is None or counts[label] > counts[most]:
            most = label
        yield most

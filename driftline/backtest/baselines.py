"""Baselines: answers that need no model, under the same delay of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from driftline.backtest.played import Played
from driftline.backtest.stream import Stream
from driftline.records import Label

BASELINES = frozenset({"no_change", "majority", "last_value", "mean", "as_served"})


def baselines(stream: Stream, delay: int) -> dict[str, Played]:
    """The answers of each baseline, under the same delay of labels; and the served answers, where they are known."""
    come = stream.labels[: max(0, len(stream) - delay - 1)]
    unknown = len(stream) - len(come)
    if stream.spec.task == "regression":
        means = np.cumsum(come) / np.arange(1, len(come) + 1)
        answers = {"last_value": [0.0] * unknown + come, "mean": [0.0] * unknown + means.tolist()}
    else:
        answers = {"no_change": [None] * unknown + come, "majority": [None] * unknown + list(_majorities(come))}
    if stream.served is not None:
        answers["as_served"] = [stream.served.get(row) for row in range(len(stream))]
    return {name: Played(given) for name, given in answers.items()}


def _majorities(labels: Sequence[Label]) -> Iterator[Label]:
    """The most frequent label so far, after each label; of equally frequent ones the one that was it before."""
    counts: Counter[Label] = Counter()
    most = None
    for label in labels:
        counts[label] += 1
        if most is None or counts[label] > counts[most]:
            most = label
        yield most

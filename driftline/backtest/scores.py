"""The metrics of a backtest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.backtest.played import Played
from driftline.backtest.stream import Stream
from driftline.learning.monitoring import stream_metrics
from driftline.learning.monitoring.value_metrics import IntervalMetrics
from driftline.records import Label
from driftline.spec.classes import indices_of

MAX_WINDOWS = 100
MIN_IN_WINDOW = 50


def scored_rows(stream: Stream) -> Sequence[int]:
    """The rows whose answers are compared with a label: of a log those that were served."""
    if stream.served is None:
        return stream.labelled
    return [row for row in stream.served if stream.labels[row] is not None]


def scores(stream: Stream, contenders: Mapping[str, Played]) -> dict[str, Any]:
    """Each metric by contender, over the whole stream and over windows of the scored rows, whose middles are ``at``."""
    rows = scored_rows(stream)
    labels = [label for row in rows if (label := stream.labels[row]) is not None]
    size = max(MIN_IN_WINDOW, -(-len(labels) // MAX_WINDOWS))
    found: dict[str, dict[str, Any]] = {}
    windows: dict[str, list[float]] = {}
    has_classes = stream.spec.kind.has_classes
    for name, played in contenders.items():
        answers = [played.answers[row] for row in rows]
        metrics = _of_classes(stream, rows, labels, played) if has_classes else _of_values(stream, rows, played)
        for metric, value in metrics.items():
            found.setdefault(metric, {})[name] = value
        windows[name] = _means(
            _hits(labels, answers) if has_classes else stream_metrics.value_errors(labels, answers), size
        )
    middles = [rows[min(first + size // 2, len(rows) - 1)] + 1 for first in range(0, len(rows), size)]
    return {**found, "windows": {"rows": size, stream.spec.kind.measures[0]: windows, "at": middles}}


def _of_values(stream: Stream, rows: Sequence[int], played: Played) -> dict[str, Any]:
    labels = [label for row in rows if (label := stream.labels[row]) is not None]
    found = stream_metrics.of_values(labels, [played.answers[row] for row in rows])
    layout = stream.spec.values
    if played.values is None or not layout.levels:
        return dict(found)
    intervals = IntervalMetrics(layout.levels)
    for label, numbers in zip(labels, played.values[rows].tolist(), strict=True):
        for ends in layout.ends(numbers):
            intervals.add(float(label), ends)
    return {**found, **intervals.scores()}


def _of_classes(stream: Stream, rows: Sequence[int], labels: Sequence[Label], played: Played) -> dict[str, Any]:
    answers = [played.answers[row] for row in rows]
    metrics: dict[str, Any] = {
        **stream_metrics.of_classes(labels, answers),
        "recall": stream_metrics.recalls(labels, answers),
    }
    if played.probabilities is not None:
        places = indices_of(stream.classes)
        truth = np.array([places[(type(label), label)] for label in labels], np.int64)
        probabilities = played.probabilities[rows]
        metrics |= stream_metrics.rankings(truth, probabilities)
        metrics["log_loss"] = stream_metrics.log_loss(probabilities[np.arange(len(truth)), truth])
    return metrics


def _hits(labels: Sequence[Label], answers: Sequence[Label | None]) -> NDArray[np.float64]:
    return np.array([float(label == answer) for label, answer in zip(labels, answers, strict=True)])


def _means(values: NDArray[np.float64], size: int) -> list[float]:
    return [round(float(values[first : first + size].mean()), 6) for first in range(0, len(values), size)]

"""The metrics of a backtest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.backtest.played import Played
from driftline.backtest.stream import Stream
from driftline.learning.monitoring import stream_metrics
from driftline.records import Label

MAX_WINDOWS = 100
MIN_IN_WINDOW = 50


def scored_rows(stream: Stream) -> Sequence[int]:
    return range(len(stream)) if stream.served is None else list(stream.served)


def scores(stream: Stream, contenders: Mapping[str, Played]) -> dict[str, Any]:
    """Each metric by contender, over the whole stream and over windows."""
    rows = scored_rows(stream)
    labels = [stream.labels[row] for row in rows]
    size = max(MIN_IN_WINDOW, -(-len(labels) // MAX_WINDOWS))
    found: dict[str, dict[str, Any]] = {}
    windows: dict[str, list[float]] = {}
    is_regression = stream.spec.task == "regression"
    for name, played in contenders.items():
        answers = [played.answers[row] for row in rows]
        metrics = (
            stream_metrics.of_values(labels, answers) if is_regression else stream_metrics.of_classes(labels, answers)
        )
        if played.likelihoods:
            metrics["log_loss"] = stream_metrics.log_loss([played.likelihoods[row] for row in rows])
        for metric, value in metrics.items():
            found.setdefault(metric, {})[name] = value
        windows[name] = _means(
            stream_metrics.value_errors(labels, answers) if is_regression else _hits(labels, answers), size
        )
    return {**found, "windows": {"rows": size, stream.spec.kind.measures[0]: windows}}


def _hits(labels: Sequence[Label], answers: Sequence[Label | None]) -> NDArray[np.float64]:
    return np.array([float(label == answer) for label, answer in zip(labels, answers, strict=True)])


def _means(values: NDArray[np.float64], size: int) -> list[float]:
    return [round(float(values[first : first + size].mean()), 6) for first in range(0, len(values), size)]

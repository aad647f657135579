"""The metrics of a backtest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.backtest.played import Played
from driftline.backtest.stream import Stream
from driftline.learning.monitoring import stream_metrics
from driftline.learning.monitoring.label_metrics import LabelMetrics, ScoredLabels, scored_labels
from driftline.learning.monitoring.value_metrics import IntervalMetrics
from driftline.records import Label
from driftline.spec.classes import indices_of
from driftline.spec.label_set import set_error
from driftline.spec.value_layout import ValueLayout

MAX_WINDOWS = 100
MIN_IN_WINDOW = 50


def scored_rows(stream: Stream) -> Sequence[int]:
    """The rows whose answers are compared with a label that counts: of a log those that were served."""
    rows = (
        stream.labelled if stream.served is None else [row for row in stream.served if stream.labels[row] is not None]
    )
    return rows if stream.weights is None else [row for row in rows if stream.weights[row] > 0]


def scores(stream: Stream, contenders: Mapping[str, Played]) -> dict[str, Any]:
    """Each metric by contender, over the whole stream and over windows of the scored rows, whose middles are ``at``."""
    rows = scored_rows(stream)
    labels = [label for row in rows if (label := stream.labels[row]) is not None]
    size = max(MIN_IN_WINDOW, -(-len(labels) // MAX_WINDOWS))
    found: dict[str, dict[str, Any]] = {}
    windows: dict[str, list[float]] = {}
    for name, played in contenders.items():
        answers = [played.answers[row] for row in rows]
        metrics, errors = _scored(stream, rows, labels, answers, played)
        for metric, value in metrics.items():
            found.setdefault(metric, {})[name] = value
        windows[name] = _means(errors, size)
    middles = [rows[min(first + size // 2, len(rows) - 1)] + 1 for first in range(0, len(rows), size)]
    return {**found, "windows": {"rows": size, stream.spec.measures[0]: windows, "at": middles}}


def _scored(
    stream: Stream, rows: Sequence[int], labels: Sequence[Label], answers: Sequence[Label | None], played: Played
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """The metrics of a contender, and the first of them by row."""
    if stream.spec.kind.is_multilabel:
        return _of_label_sets(stream, rows, labels, answers, played)
    if stream.spec.kind.has_classes:
        return _of_classes(stream, rows, labels, played), _hits(labels, answers)
    return _of_values(stream, rows, played), _value_errors(stream, labels, answers)


def _of_label_sets(
    stream: Stream, rows: Sequence[int], labels: Sequence[Any], answers: Sequence[Any], played: Played
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Of a base line, which has no probabilities, without ``log_loss``."""
    weights = _weights(stream, rows)
    places, tally, errors = indices_of(stream.classes), LabelMetrics(len(stream.classes)), []
    probabilities = None if played.probabilities is None else played.probabilities[rows]
    for place, (label, answer) in enumerate(zip(labels, answers, strict=True)):
        truth, given = ([places[type(name), name] for name in names] for names in (label, answer))
        if probabilities is not None:
            row = scored_labels(place, truth, probabilities[place])
        else:
            row = ScoredLabels(place, truth, given, set_error(label, answer, len(places)), 0.0)
        tally.add([row], [weights[place]])
        errors.append(row.error)
    metrics: dict[str, Any] = tally.scores()
    if probabilities is None:
        del metrics["log_loss"]
    by_class = tally.of_classes(len(places))
    for score in ("recall", "f1"):
        metrics[score] = {str(stream.classes[place]): found[score] for place, found in sorted(by_class)}
    return metrics, np.array(errors)


def _of_values(stream: Stream, rows: Sequence[int], played: Played) -> dict[str, Any]:
    labels = [label for row in rows if (label := stream.labels[row]) is not None]
    answers, layout = [played.answers[row] for row in rows], stream.spec.values
    truth, given = (np.array(each, np.float64).reshape(len(rows), layout.outputs) for each in (labels, answers))
    numbers = [] if played.values is None else played.values[rows].tolist()
    weights = _weights(stream, rows)
    found = [
        stream_metrics.of_values(truth[:, place].tolist(), given[:, place].tolist(), weights)
        | _of_intervals(layout, place, truth[:, place].tolist(), numbers, weights)
        for place in range(layout.outputs)
    ]
    if not layout.has_several:
        return dict(found[0])
    by_output = {
        metric: {name: of.get(metric) for name, of in zip(layout.labels, found, strict=True)} for metric in found[0]
    }
    errors = _value_errors(stream, labels, answers)
    return {"normalized_mae": float(weights @ errors / weights.sum()), **by_output}


def _value_errors(stream: Stream, labels: Sequence[Label], answers: Sequence[Label | None]) -> NDArray[np.float64]:
    """The absolute errors ``[rows]``; of several outputs their mean, each in units of its labels' deviation."""
    errors = stream_metrics.value_errors(labels, answers)
    if not stream.spec.values.has_several:
        return errors
    deviation = np.array(labels, np.float64).std(0)
    varies = deviation > 0
    found: NDArray[np.float64] = (errors[:, varies] / deviation[varies]).sum(1) / max(1, varies.sum())
    return found


def _of_intervals(
    layout: ValueLayout,
    place: int,
    truth: Sequence[float],
    numbers: Sequence[Sequence[float]],
    weights: NDArray[np.float64],
) -> dict[str, float]:
    """The scores of one output's intervals; none where there are none."""
    intervals = IntervalMetrics(layout.levels)
    for label, row, weight in zip(truth, numbers, weights.tolist(), strict=False):
        ends = layout.ends(row)
        if ends:
            intervals.add(label, ends[place], weight)
    return intervals.scores()


def _of_classes(stream: Stream, rows: Sequence[int], labels: Sequence[Label], played: Played) -> dict[str, Any]:
    answers, weights = [played.answers[row] for row in rows], _weights(stream, rows)
    metrics: dict[str, Any] = {
        **stream_metrics.of_classes(labels, answers, weights),
        "recall": stream_metrics.recalls(labels, answers, weights),
    }
    if played.probabilities is not None:
        places = indices_of(stream.classes)
        truth = np.array([places[(type(label), label)] for label in labels], np.int64)
        probabilities = played.probabilities[rows]
        metrics |= stream_metrics.rankings(truth, np.nan_to_num(probabilities), weights)
        metrics |= stream_metrics.distances(truth, probabilities, weights)
    return metrics


def _weights(stream: Stream, rows: Sequence[int]) -> NDArray[np.float64]:
    """How much each of some rows counts."""
    if stream.weights is None:
        return np.ones(len(rows))
    return np.array([stream.weights[row] for row in rows], np.float64)


def _hits(labels: Sequence[Label], answers: Sequence[Label | None]) -> NDArray[np.float64]:
    return np.array([float(label == answer) for label, answer in zip(labels, answers, strict=True)])


def _means(values: NDArray[np.float64], size: int) -> list[float]:
    return [round(float(values[first : first + size].mean()), 6) for first in range(0, len(values), size)]

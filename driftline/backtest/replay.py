"""A recorded stream, played through the learner as the service would have met it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline.backtest.stream import Stream
from driftline.classes import indices_of
from driftline.errors import InvalidInput
from driftline.ingest.rows import Rows
from driftline.learning.learner import Learner
from driftline.learning.monitoring import stream_metrics
from driftline.learning.retraining.recipe_changes import changed_recipe
from driftline.learning.training.updates_per_step import rows_of_step, updates_for
from driftline.networks.served_model import evaluating
from driftline.records import Answer, Item, Label, Plan
from driftline.spec import ModelSpec

WINDOWS = 100
FEWEST_IN_A_WINDOW = 50
BASE_LINES = frozenset({"no_change", "majority", "last_value", "mean", "as_served"})

Advance = Callable[[int], None]
"""Told of rows that have been played."""


@dataclass
class Played:
    """What a contender has answered to each row; of a learner also how it got on.

    Args:
        likelihoods: the probability that each label was given, none for a regression and a base line.
        alarms: the rows, counted from 1, whose labels raised one.
        versions: how many were served. ``rejected`` counts the candidates that were not.
    """

    answers: list[Label | None] = field(default_factory=list)
    likelihoods: list[float] = field(default_factory=list)
    alarms: list[int] = field(default_factory=list)
    versions: int = 0
    rejected: int = 0
    seconds: float = 0.0


def backtest(
    stream: Stream,
    recipes: Mapping[str, Mapping[str, Any]],
    *,
    delay: int = 0,
    seed: int = 0,
    factories: Collection[str] = (),
    advance: Advance = lambda rows: None,
) -> dict[str, Any]:
    """Plays a stream once for each recipe, and beside the base lines.

    A row is predicted by the version that is served as of then, and scored. Its label comes once ``delay`` more rows have
    been predicted. Labels are learned in steps (:func:`~driftline.learning.training.updates_per_step.rows_of_step`), each of which puts a candidate
    to the gate: what passes is served from the next row on.

    Args:
        recipes: what each changes in the recipe of the stream's spec, by its name.
        seed: the same seed gives the same result, but for ``labels_per_second``.

    Returns:
        Plain data: ``{"accuracy": {name: …}, "balanced_accuracy", "kappa", "log_loss", "labels_per_second", "alarms",
        "versions", "rejected", "windows", "stream", "recipes", "delay", "seed"}``; of a regression ``mae`` and ``rmse``.

    Raises:
        InvalidInput: a recipe or the network does not fit.
    """
    for name in BASE_LINES & recipes.keys():
        raise InvalidInput(f"a recipe is named {name!r}, as a base line is; rename its file", value=name)
    specs = {name: changed_recipe(stream.spec, changes) for name, changes in recipes.items()}
    with _one_thread():
        learned = {name: play(stream, spec, delay, seed, factories, advance) for name, spec in specs.items()}
    return {
        **_scores(stream, learned | _base_lines(stream, delay)),
        "labels_per_second": {name: round(len(stream) / played.seconds) for name, played in learned.items()},
        "alarms": {name: played.alarms for name, played in learned.items()},
        "versions": {name: played.versions for name, played in learned.items()},
        "rejected": {name: played.rejected for name, played in learned.items()},
        "stream": {
            "task": stream.spec.task,
            "rows": len(stream),
            "scored": len(_scored(stream)),
            "skipped": stream.skipped,
            "features": stream.features,
            "classes": list(dict.fromkeys(stream.labels)) if stream.spec.kind.has_classes else [],
        },
        "recipes": {name: spec.recipe.model_dump(mode="json") for name, spec in specs.items()},
        "delay": delay,
        "seed": seed,
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """As a worker has it: more would only wait for each other, and give other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def play(
    stream: Stream,
    spec: ModelSpec,
    delay: int,
    seed: int,
    factories: Collection[str] = (),
    advance: Advance = lambda rows: None,
) -> Played:
    """Predicts every row, and learns every label that comes while there are still rows."""
    service = Service(Learner.create(spec, seed=seed, factories=factories))
    batch_size, begin = spec.recipe.batch_size, time.perf_counter()
    while (step := rows_of_step(service.learned, delay, batch_size)) <= len(stream) - delay - service.learned:
        service.step(stream, step, delay)
        advance(step)
    service.serve(stream, len(stream))
    service.played.seconds = time.perf_counter() - begin
    advance(len(stream) - service.learned)
    return service.played


def predict(learner: Learner, rows: Rows) -> tuple[NDArray[np.float32], list[bytes]]:
    """What the served version answers: probabilities ``[rows, classes]``, or values ``[rows, 1]``; and the trace of each."""
    with torch.inference_mode():
        outputs, trace = evaluating(learner.served).answer(
            {name: torch.from_numpy(array) for name, array in rows.items()}
        )
        traces = [b""] * len(outputs) if trace is None else [row.tobytes() for row in trace.half().numpy()]
        return outputs.numpy(), traces


class Service:
    """What the app and the worker are to a stream: answers by the served version, and steps over labels that have come."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.played = Played(versions=1)
        self.recorded: list[Answer] = []
        self.learned = 0
        self._take_version()

    def _take_version(self) -> None:
        self.classes = self.learner.classes_of(self.learner.served)
        self.index_of = indices_of(self.classes)

    def serve(self, stream: Stream, until: int) -> None:
        """Predicts the rows up to ``until`` that are not yet."""
        first = len(self.recorded)
        if first == until:
            return
        outputs, traces = predict(self.learner, {name: array[first:until] for name, array in stream.inputs.items()})
        if stream.spec.task == "regression":
            self._record(outputs, traces, [None] * len(outputs), outputs[:, 0].tolist())
            return
        indices = outputs.argmax(1).tolist() if self.classes else []
        labels = [self.classes[index] for index in indices] or [None] * len(outputs)
        self._record(outputs, traces, labels, labels)
        places = [self.index_of.get((type(label), label)) for label in stream.labels[first:until]]
        self.played.likelihoods += [
            float(outputs[row, place]) if place is not None else 0.0 for row, place in enumerate(places)
        ]

    def _record(
        self,
        outputs: NDArray[np.float32],
        traces: Sequence[bytes],
        labels: Sequence[int | str | None],
        answers: Sequence[Label | None],
    ) -> None:
        version = self.played.versions
        self.recorded += [
            Answer(version, label, row.tobytes(), trace)
            for label, row, trace in zip(labels, outputs, traces, strict=True)
        ]
        self.played.answers += answers

    def step(self, stream: Stream, count: int, delay: int = 0) -> None:
        """Predicts up to ``delay`` rows behind the next ``count``, whose labels it then learns as the recipe says."""
        end = self.learned + count
        self.serve(stream, end + delay)
        updates = updates_for(self.learner.spec.recipe, count)
        plan = Plan(updates, publish=True, version=self.played.versions + 1)
        self.learn(stream, range(self.learned, end), plan)

    def learn(self, stream: Stream, rows: range, plan: Plan) -> None:
        """One step over the labels of some rows, which have come."""
        items = [self._item(stream, row) for row in rows]
        outcome = self.learner.learn(items, range(rows.start + 1, rows.stop + 1), plan)
        self.learned += len(rows)
        self.played.alarms += [alarm.at for alarm in outcome.alarms]
        decision = outcome.decision
        if decision is not None and (decision.promoted or decision.restored):
            self.played.versions += 1
            self._take_version()
        if decision is not None and not decision.promoted:
            self.played.rejected += 1

    def _item(self, stream: Stream, row: int) -> Item:
        is_scored = stream.served is None or row in stream.served
        return Item(
            f"b:{row}",
            {name: array[row].tobytes() for name, array in stream.inputs.items()},
            stream.labels[row],
            weight=stream.weights[row] if stream.weights is not None else 1.0,
            answer=self.recorded[row] if is_scored else None,
        )


def _base_lines(stream: Stream, delay: int) -> dict[str, Played]:
    """What needs no model, under the same delay; and what was served in truth, where that is known."""
    come = stream.labels[: max(0, len(stream) - delay - 1)]
    unknown = len(stream) - len(come)
    if stream.spec.task == "regression":
        means = np.cumsum(come) / np.arange(1, len(come) + 1)
        lines = {"last_value": [0.0] * unknown + come, "mean": [0.0] * unknown + means.tolist()}
    else:
        lines = {"no_change": [None] * unknown + come, "majority": [None] * unknown + list(_majorities(come))}
    if stream.served is not None:
        lines["as_served"] = [stream.served.get(row) for row in range(len(stream))]
    return {name: Played(answers) for name, answers in lines.items()}


def _majorities(labels: Sequence[Label]) -> Iterator[Label]:
    """The most frequent label so far, behind each label; of equals the one that has been it for longer."""
    counts: Counter[Label] = Counter()
    most = None
    for label in labels:
        counts[label] += 1
        if most is None or counts[label] > counts[most]:
            most = label
        yield most


def _scored(stream: Stream) -> Sequence[int]:
    return range(len(stream)) if stream.served is None else list(stream.served)


def _scores(stream: Stream, contenders: Mapping[str, Played]) -> dict[str, Any]:
    """Each measure by contender, of the whole stream and of windows."""
    rows = _scored(stream)
    labels = [stream.labels[row] for row in rows]
    size = max(FEWEST_IN_A_WINDOW, -(-len(labels) // WINDOWS))
    found: dict[str, dict[str, Any]] = {}
    windows: dict[str, list[float]] = {}
    is_regression = stream.spec.task == "regression"
    for name, played in contenders.items():
        answers = [played.answers[row] for row in rows]
        measures = (
            stream_metrics.of_values(labels, answers) if is_regression else stream_metrics.of_classes(labels, answers)
        )
        if played.likelihoods:
            measures["log_loss"] = stream_metrics.log_loss([played.likelihoods[row] for row in rows])
        for measure, value in measures.items():
            found.setdefault(measure, {})[name] = value
        windows[name] = _means(
            stream_metrics.value_errors(labels, answers) if is_regression else _hits(labels, answers), size
        )
    return {**found, "windows": {"rows": size, stream.spec.kind.measures[0]: windows}}


def _hits(labels: Sequence[Label], answers: Sequence[Label | None]) -> NDArray[np.float64]:
    return np.array([float(label == answer) for label, answer in zip(labels, answers, strict=True)])


def _means(values: NDArray[np.float64], size: int) -> list[float]:
    return [round(float(values[first : first + size].mean()), 6) for first in range(0, len(values), size)]

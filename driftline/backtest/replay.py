"""Plays a recorded stream through the learner as the service would have received it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline.backtest.arrivals import after_rows
from driftline.backtest.baselines import BASELINES, baselines
from driftline.backtest.played import Played
from driftline.backtest.scores import scored_rows, scores
from driftline.backtest.stream import Stream
from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.monitoring.predicted_inputs import PredictedInputs
from driftline.learning.retraining.recipe_changes import changed_recipe
from driftline.learning.training.updates_per_step import rows_of_step, updates_for
from driftline.networks.error_unit import divisor
from driftline.networks.input_tensors import input_tensors
from driftline.networks.served_model import evaluating
from driftline.records import Answer, Item, Label, Plan
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec
from driftline.spec.classes import indices_of
from driftline.spec.label_set import chosen, set_error
from driftline.spec.value_layout import ValueLayout


@dataclass(frozen=True)
class BacktestProgress:
    """How far a recipe was played: rows of all, and the accuracy, the Hamming loss or the mean absolute error so far."""

    recipe: str
    rows: int
    of_rows: int
    measure: float | None


Advance = Callable[[BacktestProgress], None]
"""Told of rows that have been played."""


def play_in_turn(
    stream: Stream,
    specs: Mapping[str, ModelSpec],
    delay: int,
    seed: int,
    factories: Collection[str],
    advance: Advance,
) -> dict[str, Played]:
    """Plays the stream once for each spec, one after another in this process."""

    def played(name: str, spec: ModelSpec) -> Played:
        def told(rows: int, measure: float | None) -> None:
            advance(BacktestProgress(name, rows, len(stream), measure))

        return play(stream, spec, delay, seed, factories, told)

    return {name: played(name, spec) for name, spec in specs.items()}


PlayAll = Callable[[Stream, Mapping[str, ModelSpec], int, int, Collection[str], Advance], dict[str, Played]]
"""Plays a stream once for each spec, as :func:`play_in_turn` does."""


def backtest(
    stream: Stream,
    recipes: Mapping[str, Mapping[str, Any]],
    *,
    delay: int = 0,
    seed: int = 0,
    factories: Collection[str] = (),
    advance: Advance = lambda progress: None,
    play_all: PlayAll = play_in_turn,
) -> dict[str, Any]:
    """Plays a stream once for each recipe, and compares with the baselines.

    A row is predicted by the version that is live at that time, and scored if it has a label. That arrives once ``delay`` more
    rows have been predicted, or when the stream says. Labels are learned in steps (``rows_of_step``), each of which puts a
    candidate to the gate: one that is promoted serves from the next row on.

    Args:
        recipes: the changes to the recipe of the stream's spec, by name.
        seed: the same seed gives the same result, but for ``labels_per_second``.
        play_all: plays them, one after another or (:class:`driftline.backtest.play_pool.PlayPool`) at the same time.

    Returns:
        Plain data: ``{"accuracy": {name: …}, "balanced_accuracy", "kappa", "recall", "auc", "average_precision", "log_loss",
        "labels_per_second", "alarms", "input_alarms", "versions", "rejected", "windows", "stream", "recipes", "delay",
        "seed"}``; of a multi-label model ``hamming_loss``, ``subset_accuracy``, ``micro_f1``, ``macro_f1``, and ``f1`` by
        class; of a regression ``mae`` and ``rmse``, and of its intervals ``coverage``, ``width`` and ``pinball_loss``.
        ``delay`` is None where the stream says when labels come.

    Raises:
        InvalidInput: a recipe or the network does not fit.
    """
    for name in BASELINES & recipes.keys():
        raise InvalidInput(f"a recipe is named {name!r}, as a base line is; rename its file", value=name)
    specs = {name: changed_recipe(stream.spec, changes) for name, changes in recipes.items()}
    with _one_thread():
        learned = play_all(stream, specs, delay, seed, factories, advance)
    return {
        **scores(stream, learned | baselines(stream, delay)),
        "labels_per_second": {name: round(len(stream) / played.seconds) for name, played in learned.items()},
        "alarms": {name: played.alarms for name, played in learned.items()},
        "input_alarms": {name: played.input_alarms for name, played in learned.items()},
        "versions": {name: played.versions for name, played in learned.items()},
        "rejected": {name: played.rejected for name, played in learned.items()},
        "stream": {
            "task": stream.spec.task,
            "rows": len(stream),
            "scored": len(scored_rows(stream)),
            "skipped": stream.skipped,
            "unlabelled": len(stream) - len(stream.labelled),
            "features": stream.features,
            "classes": stream.classes,
        },
        "recipes": {name: spec.recipe.model_dump(mode="json") for name, spec in specs.items()},
        "delay": delay if stream.arrivals is None else None,
        "seed": seed,
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread, as a worker has: more threads would be slower, and round differently."""
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
    advance: Callable[[int, float | None], None] = lambda rows, measure: None,
) -> Played:
    """Predicts every row, and learns every label that arrives while there are still rows.

    ``advance`` is told how many rows were predicted, and :attr:`Service.measure`; of all rows once, at the end.
    """
    service = Service(Learner.create(spec, seed=seed, factories=factories), stream, delay)
    begin = time.perf_counter()
    while (count := service.next_step()) is not None:
        service.step(count)
        if len(service.recorded) < len(stream):
            advance(len(service.recorded), service.measure)
    service.serve(len(stream))
    service.played.seconds = time.perf_counter() - begin
    advance(len(stream), service.measure)
    return service.finish()


def predict(learner: Learner, rows: Rows) -> tuple[NDArray[np.float32], list[bytes]]:
    """The answers of the live version: probabilities ``[rows, classes]``, or values with the ends of their intervals ``[rows,
    width]``; and their traces.
    """
    with torch.inference_mode():
        outputs, trace = evaluating(learner.served).answer(input_tensors(learner.spec, rows.tensors))
        traces = [b""] * len(outputs) if trace is None else [row.tobytes() for row in trace.numpy()]
        return outputs.numpy(), traces


def values_of(layout: ValueLayout, outputs: NDArray[np.float32]) -> list[Any]:
    """The answers of a regression: a number each, or a list of them."""
    values: list[Any] = (outputs[:, : layout.outputs] if layout.has_several else outputs[:, 0]).tolist()
    return values


class Service:
    """Stands for app and worker: answers by the live version, and makes steps over labels that have come.

    Args:
        delay: how many rows later a label comes, where the stream itself does not say when.
    """

    def __init__(self, learner: Learner, stream: Stream, delay: int = 0) -> None:
        self.learner = learner
        self.stream = stream
        self.arrivals = stream.arrivals or after_rows(stream.labels, delay)
        self.played = Played(versions=1)
        self.inputs = PredictedInputs(learner.spec)
        self.recorded: list[Answer] = []
        self.learned = 0
        self._error = 0.0
        self._outputs: list[tuple[list[int | str], NDArray[np.float32]]] = []
        self._take_version()

    def _take_version(self) -> None:
        self.classes = self.learner.classes_of(self.learner.served)

    @property
    def measure(self) -> float | None:
        """The accuracy, Hamming loss or mean absolute error over the labels that were learned; None before the first."""
        if not self.learned:
            return None
        error = self._error / self.learned
        return 1 - error if self.stream.spec.measures[0] == "accuracy" else error

    def next_step(self) -> int | None:
        """How many labels the next step takes; None where not as many come before the stream ends."""
        if self.learned == len(self.arrivals):
            return None
        delay = self.arrivals.delay(self.learned)
        count = rows_of_step(self.learned, delay, self.learner.spec.recipe.batch_size)
        last = self.learned + count - 1
        is_known = last < len(self.arrivals) and self.arrivals.due[last] <= len(self.stream)
        return count if is_known else None

    def serve(self, until: int) -> None:
        """Predicts the rows up to ``until`` that are not predicted yet."""
        first = len(self.recorded)
        if first >= until:
            return
        rows = self.stream.inputs[first:until]
        outputs, traces = predict(self.learner, rows)
        moved = self.inputs.see(input_tensors(self.learner.spec, rows.tensors), range(first + 1, until + 1))
        self.played.input_alarms += [report.since for report in moved]
        if not self.stream.spec.kind.has_classes:
            self._record(outputs, traces, [None] * len(outputs), values_of(self.stream.spec.values, outputs))
            return
        if self.stream.spec.kind.is_multilabel:
            given: list[Any] = [chosen(self.classes, row) for row in outputs.tolist()]
            self._record(outputs, traces, [None] * len(outputs), given)
            return
        indices = self.learner.served.decided(torch.from_numpy(outputs)).tolist() if self.classes else []
        labels = [self.classes[index] for index in indices] or [None] * len(outputs)
        self._record(outputs, traces, labels, labels)

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
        self._outputs.append((self.classes, outputs))
        self.played.answers += answers

    def step(self, count: int) -> None:
        """Predicts the rows that come before the last of the next ``count`` labels, which it then learns as the recipe says."""
        self.serve(self.arrivals.due[self.learned + count - 1])
        rows, weights = self.arrivals.rows[self.learned : self.learned + count], self.stream.weights
        counted = count if weights is None else sum(weights[row] > 0 for row in rows)
        updates = updates_for(self.learner.spec.recipe, counted)
        self.learn(count, Plan(updates, publish=True, version=self.played.versions + 1))

    def learn(self, count: int, plan: Plan) -> None:
        """Makes one step over the next ``count`` labels, which have come."""
        first = self.learned
        rows = self.arrivals.rows[first : first + count]
        items = [self._item(row) for row in rows]
        # The log of a model holds labels alone, densely numbered.
        result = self.learner.learn(items, range(first + 1, first + count + 1), plan)
        self.learned += count
        self._error += sum(self._error_of(row) for row in rows)
        self.played.alarms += [self.arrivals.rows[alarm.at - 1] + 1 for alarm in result.alarms]
        decision = result.decision
        if decision is not None and (decision.promoted or decision.restored):
            self.played.versions += 1
            self._take_version()
        if decision is not None and not decision.promoted:
            self.played.rejected += 1

    def _error_of(self, row: int) -> float:
        label, answer = self.stream.labels[row], self.played.answers[row]
        if self.stream.spec.kind.is_multilabel:
            return set_error(label, answer, len(self.stream.classes))
        if self.stream.spec.kind.has_classes:
            return float(label != answer)
        distances, unit = np.abs(np.subtract(label, answer, dtype=np.float64)), self.learner.module.error_unit  # type: ignore[arg-type]
        return float(distances if unit is None else (distances / divisor(unit).numpy()).mean())

    def _item(self, row: int) -> Item:
        stream, label = self.stream, self.stream.labels[row]
        assert label is not None, "only labels arrive"
        is_scored = stream.served is None or row in stream.served
        return Item(
            f"b:{row}",
            stream.inputs.item(row),
            label,
            weight=stream.weights[row] if stream.weights is not None else 1.0,
            answer=self.recorded[row] if is_scored else None,
            caller=stream.callers[row] if stream.callers is not None else "",
        )

    def finish(self) -> Played:
        """What was played, with the probabilities of the stream's classes, or the numbers of a regression's answers."""
        if self.stream.spec.kind.has_classes:
            places = indices_of(self.stream.classes)
            found = np.full((len(self.recorded), len(places)), np.nan, np.float32)
            row = 0
            for classes, outputs in self._outputs:
                columns = [places[(type(name), name)] for name in classes]
                found[row : row + len(outputs), columns] = outputs
                row += len(outputs)
            self.played.probabilities = found
        elif self._outputs:
            self.played.values = np.concatenate([outputs for _, outputs in self._outputs])
        return self.played

"""Plays a recorded stream through the learner as the service would have received it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline.backtest.baselines import BASELINES, baselines
from driftline.backtest.played import Played
from driftline.backtest.scores import scored_rows, scores
from driftline.backtest.stream import Stream
from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.retraining.recipe_changes import changed_recipe
from driftline.learning.training.updates_per_step import rows_of_step, updates_for
from driftline.networks.served_model import evaluating
from driftline.records import Answer, Item, Label, Plan
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec
from driftline.spec.classes import indices_of

Advance = Callable[[int], None]
"""Told of rows that have been played."""


def backtest(
    stream: Stream,
    recipes: Mapping[str, Mapping[str, Any]],
    *,
    delay: int = 0,
    seed: int = 0,
    factories: Collection[str] = (),
    advance: Advance = lambda rows: None,
) -> dict[str, Any]:
    """Plays a stream once for each recipe, and compares with the baselines.

    A row is predicted by the version that is live at that time, and scored. Its label arrives once ``delay`` more rows have
    been predicted. Labels are learned in steps (``rows_of_step``), each of which puts a candidate to the gate: one that is
    promoted serves from the next row on.

    Args:
        recipes: the changes to the recipe of the stream's spec, by name.
        seed: the same seed gives the same result, but for ``labels_per_second``.

    Returns:
        Plain data: ``{"accuracy": {name: …}, "balanced_accuracy", "kappa", "log_loss", "labels_per_second", "alarms",
        "versions", "rejected", "windows", "stream", "recipes", "delay", "seed"}``; of a regression ``mae`` and ``rmse``.

    Raises:
        InvalidInput: a recipe or the network does not fit.
    """
    for name in BASELINES & recipes.keys():
        raise InvalidInput(f"a recipe is named {name!r}, as a base line is; rename its file", value=name)
    specs = {name: changed_recipe(stream.spec, changes) for name, changes in recipes.items()}
    with _one_thread():
        learned = {name: play(stream, spec, delay, seed, factories, advance) for name, spec in specs.items()}
    return {
        **scores(stream, learned | baselines(stream, delay)),
        "labels_per_second": {name: round(len(stream) / played.seconds) for name, played in learned.items()},
        "alarms": {name: played.alarms for name, played in learned.items()},
        "versions": {name: played.versions for name, played in learned.items()},
        "rejected": {name: played.rejected for name, played in learned.items()},
        "stream": {
            "task": stream.spec.task,
            "rows": len(stream),
            "scored": len(scored_rows(stream)),
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
    advance: Advance = lambda rows: None,
) -> Played:
    """Predicts every row, and learns every label that arrives while there are still rows."""
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
    """The answers of the live version: probabilities ``[rows, classes]``, or values ``[rows, 1]``; and their traces."""
    with torch.inference_mode():
        outputs, trace = evaluating(learner.served).answer(
            {name: torch.from_numpy(array) for name, array in rows.tensors.items()}
        )
        traces = [b""] * len(outputs) if trace is None else [row.tobytes() for row in trace.half().numpy()]
        return outputs.numpy(), traces


class Service:
    """Stands for app and worker: answers by the live version, and makes steps over labels that have arrived."""

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
        """Predicts the rows up to ``until`` that are not predicted yet."""
        first = len(self.recorded)
        if first == until:
            return
        outputs, traces = predict(self.learner, stream.inputs[first:until])
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
        """Predicts up to ``delay`` rows after the next ``count``, whose labels it then learns as the recipe says."""
        end = self.learned + count
        self.serve(stream, end + delay)
        updates = updates_for(self.learner.spec.recipe, count)
        plan = Plan(updates, publish=True, version=self.played.versions + 1)
        self.learn(stream, range(self.learned, end), plan)

    def learn(self, stream: Stream, rows: range, plan: Plan) -> None:
        """Makes one step over the labels of some rows, which have arrived."""
        items = [self._item(stream, row) for row in rows]
        result = self.learner.learn(items, range(rows.start + 1, rows.stop + 1), plan)
        self.learned += len(rows)
        self.played.alarms += [alarm.at for alarm in result.alarms]
        decision = result.decision
        if decision is not None and (decision.promoted or decision.restored):
            self.played.versions += 1
            self._take_version()
        if decision is not None and not decision.promoted:
            self.played.rejected += 1

    def _item(self, stream: Stream, row: int) -> Item:
        is_scored = stream.served is None or row in stream.served
        return Item(
            f"b:{row}",
            stream.inputs.item(row),
            stream.labels[row],
            weight=stream.weights[row] if stream.weights is not None else 1.0,
            answer=self.recorded[row] if is_scored else None,
        )

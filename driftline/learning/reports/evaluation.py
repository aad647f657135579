"""How good a module is, how quick and how large: what a retrain job reports, and what versions are compared by.

Nothing here decides anything or changes a learner: clocks are read, and recovery need not repeat it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.monitoring.label_metrics import LabelMetrics, ScoredLabels, scored_labels
from driftline.learning.monitoring.prequential import MAX_CLASSES
from driftline.learning.monitoring.ranking import MAX_RANKED, levels_of
from driftline.learning.monitoring.running_metrics import (
    ClassificationMetrics,
    RegressionMetrics,
    ScoredPrediction,
    brier_score,
    surprise,
)
from driftline.learning.monitoring.scoring import Scored
from driftline.learning.monitoring.value_metrics import ScoredValues, ValueMetrics
from driftline.learning.promotion.gate import MAX_ERROR, Decision
from driftline.networks.describe import describe
from driftline.networks.model import Model
from driftline.networks.sequential import example_rows
from driftline.networks.served_model import ServedModel, evaluating
from driftline.spec import ModelSpec

if TYPE_CHECKING:
    from driftline.learning.learner import Learner

LATEST = 500
"""How many of the newest labels a report looks at."""
BATCHES = (1, 32)
MAX_PASSES = 9
LATENCY_SECONDS = 0.1
CHUNK = 256


def all_answered(module: ServedModel, examples: Mapping[str, Examples]) -> dict[str, list[Scored]]:
    """What :func:`answered` gives for each of ``examples``, by its name."""
    return {name: answered(module, rows) for name, rows in examples.items()}


@torch.no_grad()
def answered(module: ServedModel, examples: Examples) -> list[Scored]:
    """What a module answers to each row, by the ids of classes, and how wrong that is."""
    rows: list[Scored] = []
    for start in range(0, len(examples), CHUNK):
        chunk = examples.take(slice(start, start + CHUNK))
        outputs = evaluating(module).predict(chunk.inputs, in_order=False)
        if module.is_multilabel:
            rows += _labels(outputs, chunk.targets)
        elif module.is_regression:
            rows += _values(module, outputs, chunk)
        else:
            rows += _classes(module, outputs, chunk.targets)
    return [row._replace(n=n) for n, row in enumerate(rows)]


def _labels(outputs: Tensor, targets: Tensor) -> list[ScoredLabels]:
    pairs = zip(outputs.numpy(), targets.numpy(), strict=True)
    return [scored_labels(0, np.flatnonzero(target).tolist(), row) for row, target in pairs]


def _values(module: ServedModel, outputs: Tensor, examples: Examples) -> list[Scored]:
    values = torch.nan_to_num(outputs, nan=MAX_ERROR)
    if module.error_unit is None:
        pairs = zip(examples.targets.tolist(), values[:, 0].tolist(), strict=True)
        return [ScoredPrediction(0, target, value, abs(value - target)) for target, value in pairs]
    errors = module.errors(values, examples.targets).tolist()
    rows = zip(examples.targets.tolist(), values.tolist(), errors, strict=True)
    return [ScoredValues(0, target, value, error) for target, value, error in rows]


def _classes(module: ServedModel, outputs: Tensor, targets: Tensor) -> list[ScoredPrediction]:
    found, ids = [], module.class_ids or range(outputs.shape[1])
    places, outputs = module.positions(targets).tolist(), torch.nan_to_num(outputs)
    decided = module.decided(outputs).tolist() if outputs.shape[1] else [-1] * len(outputs)
    by_id = sorted(range(outputs.shape[1]), key=lambda own: ids[own]) if is_ranked(ids) else []
    for row, target, place, own in zip(outputs.numpy(), targets.tolist(), places, decided, strict=True):
        answer = ids[own] if len(row) else -1
        scored = ScoredPrediction(0, target, answer, float(answer != target), None)
        if len(row):
            scored = scored._replace(confidence=min(1.0, float(row[own])), levels=levels_of(row[by_id].tolist()))
        if place < len(row):
            scored = scored._replace(loss=surprise(float(row[place])), brier=brier_score(row.tolist(), place))
        found.append(scored)
    return found


def is_ranked(ids: Sequence[int]) -> bool:
    """Whether it is measured how probabilities rank rows: of few classes, all known from the first on."""
    return len(ids) <= MAX_RANKED and max(ids, default=-1) < len(ids)


def scores(
    rows: Sequence[Scored], names: Sequence[int | str], is_regression: bool, spec: ModelSpec | None = None
) -> dict[str, Any]:
    """``count`` and the scores; where there are classes also ``classes``, those with most labels. ``names`` are by their ids.

    ``spec``: of a multi-label model, or a regression with several outputs.
    """
    if spec is not None and spec.values.has_several:
        return {"count": len(rows), **ValueMetrics.of(spec.values, rows).scores()}
    if is_regression:
        return {"count": len(rows), **RegressionMetrics.of(rows).scores()}
    is_multilabel = spec is not None and spec.kind.is_multilabel
    tally: Any = LabelMetrics(len(names)) if is_multilabel else ClassificationMetrics()
    tally.add(rows)
    named = [{"class": names[number], **found} for number, found in tally.of_classes(MAX_CLASSES)]
    return {"count": len(rows), **tally.scores(), "classes": named}


def cost(model: Model) -> dict[str, int]:
    """``parameters``, how many are ``trained``, ``bytes``, and ``flops`` for one row."""
    found = describe(model)
    return {name: found[name] for name in ("parameters", "trained", "bytes", "flops")}


@torch.no_grad()
def latency_ms(spec: ModelSpec, module: ServedModel) -> dict[str, float]:
    """Milliseconds that an answer takes here and now, the median of a few, by the rows in a batch."""
    return {str(batch): _milliseconds(module, batch, spec) for batch in BATCHES}


def _milliseconds(module: ServedModel, batch: int, spec: ModelSpec) -> float:
    inputs = {name: row.expand(batch, *row.shape[1:]).contiguous() for name, row in example_rows(spec).items()}
    evaluating(module).predict(inputs)
    passes: list[float] = []
    while not passes or (len(passes) < MAX_PASSES and sum(passes) < LATENCY_SECONDS):
        begin = time.perf_counter()
        module.predict(inputs)
        passes.append(time.perf_counter() - begin)
    return round(1000 * statistics.median(passes), 4)


def measured(model: Model, names: Sequence[int | str], answers: Mapping[str, Sequence[Scored]]) -> dict[str, Any]:
    """The scores of ``answers`` by name, ``latency_ms``, and what :func:`cost` gives. ``names`` are by the ids of classes."""
    is_regression, spec = model.module.is_regression, model.spec
    on = {name: scores(rows, names, is_regression, spec) for name, rows in answers.items()}
    return {**on, "latency_ms": latency_ms(model.spec, model.module), **cost(model)}


class JobEvaluation:
    """What is served before a job ends, and the job's candidate after it, on the same examples: of classes that both know."""

    def __init__(self, learner: Learner) -> None:
        job = learner.retraining
        assert job is not None
        self.job = job
        self.names = learner.class_table.names
        self.before = Model(learner.spec, list(learner.classes), learner.served)
        self.holdout = learner.promotion.holdout.current()

    def report(self, decision: Decision) -> dict[str, Any]:
        """``{"before", "after", "reason", "scores"}``, the last two being the gate's, and what the job itself tells."""
        course = self.job.course
        after = Model(course.spec, course.classes, course.candidate())
        examples = {"holdout": self.holdout.answered_by(after.module), "latest": self.job.newest(LATEST)}
        known = {name: rows.answered_by(self.before.module) for name, rows in examples.items()}
        return {
            "before": self._measured(self.before, known),
            "after": self._measured(after, examples),
            "reason": decision.reason,
            "scores": dict(decision.scores),
            **self.job.report(),
        }

    def _measured(self, model: Model, examples: Mapping[str, Examples]) -> dict[str, Any]:
        return measured(model, self.names, all_answered(model.module, examples))

"""Two versions side by side: what each measures on the same examples, how that differs, and whether it is more than chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from driftline.learning.examples import Examples
from driftline.learning.learner import Learner
from driftline.learning.monitoring.label_metrics import ScoredLabels
from driftline.learning.monitoring.running_metrics import ScoredPrediction
from driftline.learning.promotion.gate import MIN_COMPARED, Comparison
from driftline.learning.reports.evaluation import all_answered, measured
from driftline.networks.model import Model
from driftline.records import Item
from driftline.spec.classes import ClassTable

Pairs: TypeAlias = Sequence[tuple[ScoredPrediction, ScoredPrediction]]
"""What two versions answered, row by row."""
MEANS: dict[str, Callable[[ScoredPrediction], float]] = {
    "accuracy": lambda row: row.error,
    "log_loss": lambda row: math.nan if row.loss is None else row.loss,
    "brier": lambda row: math.nan if row.brier is None else row.brier,
    "hamming_loss": lambda row: row.error,
    "subset_accuracy": lambda row: float(row.error > 0),
    "mae": lambda row: row.error,
    "normalized_mae": lambda row: row.error,
    "bias": lambda row: row.answer - row.truth,
}
"""The scores that are a mean over rows, and of what, up to the sign."""
COSTS = ("parameters", "trained", "bytes", "flops")


def examples_of(learner: Learner, items: Sequence[Item]) -> dict[str, Examples]:
    """``holdout``: what is held out since the last drift; ``latest``: those of the newest ``items`` that are not held out."""
    return {"holdout": learner.promotion.holdout.current(), "latest": learner.trainable(items)}


@dataclass(frozen=True)
class ExaminedVersion:
    """A version's answers to examples, by the name of these, and what it measures. ``classes`` are named by their ids."""

    version: int
    classes: list[int | str]
    answers: dict[str, list[ScoredPrediction]]
    measures: dict[str, Any]

    @classmethod
    def of(
        cls, version: int, restored: Model, classes: ClassTable, examples: Mapping[str, Examples]
    ) -> ExaminedVersion:
        """Measures a version as it was written; labels of classes that it does not know are wrong there."""
        table = ClassTable(classes.names)
        restored.module.set_class_ids(table.add(restored.classes))
        answers = all_answered(restored.module, examples)
        return cls(version, table.names, answers, measured(restored, table.names, answers))


def compare_versions(one: ExaminedVersion, other: ExaminedVersion) -> dict[str, Any]:
    """``versions``: what each measures; ``differences``: the second less the first.

    A difference is ``{"difference"}``. That of a score which is a mean over at least ten rows has its paired
    ``standard_error`` too, and says whether it is ``beyond_chance``: by more than two of these, as the gate has it.
    """
    latencies = [each.measures["latency_ms"] for each in (one, other)]
    costs = [{name: each.measures[name] for name in COSTS} for each in (one, other)]
    return {
        "versions": [{"version": each.version, **each.measures} for each in (one, other)],
        "differences": {
            **{name: _of_scores(name, one, other) for name in one.answers},
            "latency_ms": _of_numbers(*latencies),
            **_of_numbers(*costs),
        },
    }


def _of_numbers(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, Any]:
    return {name: {"difference": other[name] - value} for name, value in one.items() if name in other}


def _of_scores(name: str, one: ExaminedVersion, other: ExaminedVersion) -> dict[str, Any]:
    """Of the scores on the examples of that name, and of the recall of each class that is told of."""
    before, after = (
        {score: value for score, value in each.measures[name].items() if score not in ("count", "classes", "outputs")}
        for each in (one, other)
    )
    pairs = list(zip(one.answers[name], other.answers[name], strict=True))
    found = _of_numbers(before, after)
    for score in MEANS.keys() & found.keys():
        found[score] |= _chance(pairs, MEANS[score])
    if "classes" in one.measures[name]:
        found["classes"] = _of_classes(name, one, other, pairs)
    return found


def _of_classes(name: str, one: ExaminedVersion, other: ExaminedVersion, pairs: Pairs) -> list[dict[str, Any]]:
    found = []
    for before, after in zip(one.measures[name]["classes"], other.measures[name]["classes"], strict=True):
        index = one.classes.index(before["class"])
        chance = _chance_of_recall(pairs, index)
        recall = {"difference": after["recall"] - before["recall"], **chance}
        found.append({"class": before["class"], "recall": recall})
    return found


def _chance_of_recall(pairs: Pairs, index: int) -> dict[str, Any]:
    if pairs and isinstance(pairs[0][0], ScoredLabels):
        of_class = [pair for pair in pairs if index in pair[0].truth]
        return _chance(of_class, lambda row: float(index not in row.answer))
    return _chance([pair for pair in pairs if pair[0].truth == index], MEANS["accuracy"])


def _chance(pairs: Pairs, value_of: Callable[[ScoredPrediction], float]) -> dict[str, Any]:
    if len(pairs) < MIN_COMPARED:
        return {}
    both = torch.tensor([[value_of(row) for row in pair] for pair in pairs], dtype=torch.float64)
    one, other = both[both.isfinite().all(1)].unbind(1)
    if len(one) < MIN_COMPARED:
        return {}
    comparison = Comparison("labels", other, one)
    return {"standard_error": comparison.standard_error, "beyond_chance": comparison.is_beyond_chance}

"""A report says what a job has changed, and changes nothing itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import Decision
from driftline.learning.reports import evaluation
from driftline.learning.reports.evaluation import JobEvaluation
from tests.learning.conftest import assert_same, examples_of, learner, play, values, world

OFF = {"gate": {"mode": "off", "holdout": 0.3}}


def reported(one: Learner, *arguments: Any) -> dict[str, Any]:
    one.retrain("job", *arguments)
    examination = JobEvaluation(one)
    decision = one.finish(2).decision
    assert decision is not None
    return examination.report(decision)


def test_a_report_tells_before_and_after() -> None:
    one = learner(recipe=OFF)
    play(one, world(60))
    edits = [{"type": "widen", "layer": "linear1", "features": 16}]
    found = reported(one, {"optimizer": {"learning_rate": 0.02}}, edits, 20, world(600, 100))
    before, after = found["before"], found["after"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert before["parameters"] == 4 * 8 + 8 + 8 * 2 + 2 and after["parameters"] == 4 * 16 + 16 + 16 * 2 + 2
    assert after["bytes"] > before["bytes"] and after["flops"] > before["flops"]
    assert before["holdout"]["count"] == after["holdout"]["count"] == len(one.promotion.holdout)
    assert before["latest"]["count"] <= evaluation.LATEST < 600
    assert after["latest"]["accuracy"] >= before["latest"]["accuracy"]
    assert after["latest"]["log_loss"] < before["latest"]["log_loss"] and "calibration_error" in after["latest"]
    assert [row["class"] for row in sorted(after["latest"]["classes"], key=lambda row: row["class"])] == [0, 1]
    assert after["latency_ms"].keys() == {"1", "32"} and min(after["latency_ms"].values()) > 0
    assert found["reason"] == "promoted unjudged: the gate is off"


def test_the_scores_are_those_of_the_answers() -> None:
    one = learner()
    play(one, world(200))
    examples = examples_of(one, world(300, 500))
    found = evaluation.scores(evaluation.answered(one.module, examples), one.classes, False)
    with torch.no_grad():
        probabilities = one.module.eval().predict(examples.inputs, in_order=False)
    assert found["accuracy"] == pytest.approx(float((probabilities.argmax(1) == examples.targets).float().mean()))
    assert found["log_loss"] == pytest.approx(
        float(torch.nn.functional.nll_loss(probabilities.log(), examples.targets))
    )


def test_a_regression_is_reported_too() -> None:
    one = learner(task="regression", classes=None, recipe=OFF)
    play(one, values(100))
    found = reported(one, {}, [], 1, [])
    assert found["after"]["latest"].keys() >= {"mae", "rmse", "count"} and "classes" not in found["after"]["latest"]


def test_classes_that_what_is_served_does_not_know_yet_are_wrong_there() -> None:
    one = learner(classes=["a", "b"], recipe=OFF)
    play(one, world(100, names=["a", "b"]))
    found = reported(one, {}, [{"type": "add_classes", "classes": ["c"]}], 1, [])
    assert found["before"]["latest"]["count"] == found["after"]["latest"]["count"]
    nothing = learner(classes="open")
    assert reported(nothing, {}, [], 1, [])["before"]["holdout"] == {"count": 0, "classes": []}


def test_to_look_changes_nothing() -> None:
    network = {"layers": [{"type": "linear", "features": 8}, {"type": "batch_norm"}, {"type": "dropout"}]}
    one, other = learner(network=network, recipe=OFF), learner(network=network, recipe=OFF)
    for each in (one, other):
        play(each, world(200))
        each.retrain("job", {}, [], 2, world(100, 200))
    examination = JobEvaluation(one)
    examination.report(Decision(True, "as it is"))
    for each in (one, other):
        each.finish(2)
        play(each, world(100, 300))
    assert_same(one.state_dict(), other.state_dict())

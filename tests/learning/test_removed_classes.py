"""A live model loses a class by a retrain: whatever counts classes by their index follows, by their names."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.examples import Examples
from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import Decision
from driftline.learning.reports.comparison import ExaminedVersion, compare_versions
from driftline.learning.reports.evaluation import JobEvaluation
from driftline.networks.experts.mixture import Mixture
from driftline.networks.model import Model
from driftline.records import Answer, Item, Plan
from tests.learning.conftest import (
    accuracy,
    assert_same,
    learner,
    origin_of,
    play,
    restored,
    weights_of,
    world,
)

ABC = ["a", "b", "c"]
WITHOUT_B = [{"type": "remove_classes", "classes": ["b"]}]
REPLAY = {"strategy": "replay", "gate": {"holdout": 0.3}, "optimizer": {"learning_rate": 0.02}}
EXPERTS = {"strategy": "experts", "gate": {"holdout": 0.3}, "optimizer": {"learning_rate": 0.02}}


def taught(count: int = 300, **changes: Any) -> Learner:
    """A learner that has learned three classes."""
    one = learner(**{"classes": ABC, "recipe": REPLAY} | changes)
    play(one, world(count, names=ABC))
    return one


def others(count: int, first: int) -> list[Item]:
    """Items of the classes that stay."""
    return [i for i in world(count, first, ABC) if i.label != "b"]


def removed(one: Learner, version: int = 2, edits: Sequence[dict[str, Any]] = WITHOUT_B, **recipe: Any) -> Decision:
    """What comes of a job that removes classes, after labels that arrive meanwhile."""
    one.retrain("job", recipe, edits, 2, world(100, 2000, ABC))
    play(one, world(48, 3000, ABC))
    decision = one.finish(version).decision
    assert decision is not None
    return decision


def kept(one: Learner) -> list[Examples]:
    return [
        one.replay_buffer.examples,
        one.promotion.holdout.examples,
        one.promotion.comparison_buffer.examples,
        one.monitor.recent.examples.examples,
    ]


def labels_by_row(one: Learner) -> dict[tuple[float, ...], int | str]:
    """The class of each example that is kept anywhere, by its inputs."""
    return {
        tuple(row): one.class_table.names[target]
        for examples in kept(one)
        for row, target in zip(examples.inputs["inputs"].tolist(), examples.targets.tolist(), strict=True)
    }


@pytest.mark.parametrize("recipe", [REPLAY, EXPERTS], ids=["replay", "experts"])
@pytest.mark.parametrize("classes", [ABC, "open"], ids=["fixed", "open"])
def test_the_other_classes_are_known_as_well_as_before(classes: Any, recipe: dict[str, Any]) -> None:
    one = taught(classes=classes, recipe=recipe | {"on_alarm": "shorten"})
    before, was = accuracy(one, others(400, 5000)), labels_by_row(one)
    decision = removed(one)
    assert decision.promoted and "b" not in one.classes and len(one.classes) == 2
    assert one.promotion.champion.width == one.promotion.anchor.width == one.module.width == 2
    assert one.spec.classes == ("open" if classes == "open" else one.classes)
    assert accuracy(one, others(400, 5000)) >= before - 0.02
    now = labels_by_row(one)
    assert len(now) > 100 and set(now.values()) == {"a", "c"} and now.items() <= (was | now).items()
    assert all(was.get(row, label) == label for row, label in now.items()), "each row has the class that it had"
    other = restored(one)
    assert_same(other.state_dict(), one.state_dict())
    for each in (one, other):
        play(each, others(150, 6000))
    assert_same(other.state_dict(), one.state_dict())


def test_the_mixture_keeps_what_it_has_learned_of_the_others() -> None:
    one = taught(recipe=EXPERTS)
    one.retrain("job", {}, WITHOUT_B, 1, [])
    mixture = one.module.experts
    assert isinstance(mixture, Mixture)
    before, weights = mixture.columns.of(torch.tensor([0, 2])), mixture.weights.clone()
    heads, rows = mixture.ridge.heads.clone(), int(mixture.neighbours.seen)
    assert one.finish(2).decision is not None and one.classes == ["a", "c"]
    mixture = one.module.experts
    assert isinstance(mixture, Mixture)
    now = mixture.columns.of(torch.tensor([0, 1]))
    assert torch.equal(mixture.ridge.heads[:, :, now], heads[:, :, before]) and torch.equal(mixture.weights, weights)
    assert mixture.columns.count == 2 and rows / 2 < int(mixture.neighbours.seen) < rows


def test_a_job_goes_on_from_its_state_bit_for_bit() -> None:
    one = taught(recipe=REPLAY | {"distillation": {"weight": 1}})
    one.retrain("job", {}, WITHOUT_B, 3, [])
    play(one, world(48, 3000, ABC))
    assert one.retraining is not None
    one.retraining.advance(2)
    other = restored(one)
    for each in (one, other):
        play(each, world(48, 4000, ABC))
        each.finish(2)
        play(each, others(60, 6000))
    assert one.classes == ["a", "c"]
    assert_same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("classes", [ABC, "open"], ids=["fixed", "open"])
def test_a_label_of_a_class_that_is_gone_is_refused_or_adds_it_anew(classes: Any) -> None:
    one = taught(classes=classes)
    assert removed(one).promoted
    outcome = one.learn(world(32, 7000, ABC), range(1, 33), Plan(updates=1))
    if classes == "open":
        assert not outcome.rejected and one.classes[2] == "b"
        assert one.replay_buffer.policy.seen[one.class_table.names.index("b")] > 0
    else:
        assert len(outcome.rejected) > 5 and all("'b'" in why for why in outcome.rejected.values())


def test_a_rollback_brings_the_class_back_and_remembers_the_others() -> None:
    one = taught()
    version = (one.spec, one.classes_of(one.served), weights_of(one))
    assert removed(one).promoted
    counts, was = one.course.state.counts.tolist(), labels_by_row(one)
    one.rollback(*version, 3)
    assert one.classes == ABC == one.spec.classes and one.ordered_since == 3
    assert all(torch.equal(value, weights_of(one)[name]) for name, value in version[2].items())
    assert labels_by_row(one) == was and len(was) > 100
    assert one.course.state.counts.tolist() == counts, "a class keeps its id, and what was counted of it"
    assert_same(restored(one).state_dict(), one.state_dict())
    play(one, world(300, 8000, ABC))
    assert one.replay_buffer.policy.seen[1] > 30 and accuracy(one, world(400, 5000, ABC)) > 0.75


def test_a_rollback_keeps_classes_that_came_later_after_those_of_the_version() -> None:
    one = taught(classes="open")
    version = (one.spec, list(one.classes), weights_of(one))
    assert removed(one).promoted
    play(one, world(60, 8000, ["a", "c", "d"]))
    one.rollback(*version, 3)
    assert one.classes == [*version[1], "d"] and "d" in labels_by_row(one).values()


def test_what_has_harmed_is_rolled_back_with_its_classes() -> None:
    one = taught(recipe=REPLAY | {"on_alarm": "shorten"})
    classes = one.classes
    assert removed(one).promoted
    wrong = [
        Item(i.id, i.inputs, i.label, answer=Answer(2, "a" if i.label == "c" else "c", np.ones(2, "<f4").tobytes()))
        for i in others(300, 5000)
    ]
    outcomes = play(one, wrong)
    assert any(outcome.decision and outcome.decision.restored for outcome in outcomes)
    assert one.classes == classes == one.spec.classes
    assert set(labels_by_row(one).values()) == {"a", "c"}


def test_late_answers_of_former_versions_are_not_read_in_the_new_order() -> None:
    one = taught(recipe=EXPERTS)
    assert removed(one).promoted
    parts = int(one.module.experts.parts)  # type: ignore[union-attr, arg-type]
    sure_of_c = np.array([0.1, 0.2, 0.7], "<f4").tobytes()
    # Of as many classes as there are now, so that the length does not tell that they were others.
    trace = np.full((parts, 2), -3, "<f2").tobytes()
    late = [Item(i.id, i.inputs, i.label, answer=Answer(1, "c", sure_of_c, trace)) for i in others(64, 5000)]
    other, third = copy.deepcopy(one), copy.deepcopy(one)
    plain = [Item(i.id, i.inputs, i.label, answer=Answer(1, "c", sure_of_c)) for i in late]
    metrics = one.monitor.prequential.all
    count, loss = metrics.count, metrics.loss
    one.learn(late, range(1, 1 + len(late)), Plan(updates=1))
    other.learn(plain, range(1, 1 + len(late)), Plan(updates=1))
    assert_same(one.state_dict(), other.state_dict())
    right = sum(i.label == "c" for i in late)
    expected = -right * np.log(0.7) - (len(late) - right) * np.log(0.15)
    assert (metrics.count - count, metrics.loss - loss) == (len(late), pytest.approx(expected, rel=1e-5))
    newer = [Item(i.id, i.inputs, i.label, answer=Answer(2, "c", sure_of_c, trace)) for i in late]
    third.learn(newer, range(1, 1 + len(late)), Plan(updates=1))
    assert not torch.equal(third.module.experts.weights, one.module.experts.weights), "those of its own are read"  # type: ignore[union-attr, arg-type]


def test_a_report_and_a_comparison_go_by_names() -> None:
    one = taught()
    old = Model(one.spec, list(one.classes), copy.deepcopy(one.served))
    one.retrain("job", {}, WITHOUT_B, 2, [])
    play(one, world(48, 3000, ABC))
    examination = JobEvaluation(one)
    decision = one.finish(2).decision
    assert decision is not None and decision.promoted
    report = examination.report(decision)
    for rows in ("holdout", "latest"):
        before, after = report["before"][rows], report["after"][rows]
        assert before["count"] == after["count"] > 30
        assert {row["class"] for row in [*before["classes"], *after["classes"]]} == {"a", "c"}
        assert min(before["accuracy"], after["accuracy"]) > 0.7
    new = Model(one.spec, list(one.classes), one.served)
    examples = {"holdout": one.promotion.holdout.current()}
    found = compare_versions(
        *(ExaminedVersion.of(n, model, one.class_table, examples) for n, model in enumerate((old, new)))
    )
    scores = [each["holdout"] for each in found["versions"]]
    assert min(score["accuracy"] for score in scores) > 0.7 and len(examples["holdout"]) > 30


def test_weights_of_classes_go_with_their_classes() -> None:
    loss = {"name": "cross_entropy", "weights": [1, 2, 3]}
    one = taught(recipe=REPLAY | {"loss": loss})
    version = (one.spec, list(one.classes), weights_of(one))
    assert removed(one).promoted
    assert one.spec.loss.weights == [1, 3]  # type: ignore[attr-defined]
    one.rollback(*version, 3)
    assert one.spec.loss.weights == [1, 1, 3]  # type: ignore[attr-defined]


def test_a_canary_ends_with_the_classes_that_it_knows() -> None:
    one = taught(recipe=REPLAY | {"gate": {"mode": "canary", "holdout": 0.3}})
    assert one.promotion.canary is not None
    one.retrain("job", {}, WITHOUT_B, 2, [])
    one.finish(3, is_promoted=True)
    assert one.promotion.canary is None and one.classes == ["a", "c"]
    play(one, others(60, 4000))
    assert one.promotion.canary is not None and one.promotion.canary.module.width == 2, "the next one"
    one.promote(5)
    assert one.promotion.canary is None


def test_what_is_learned_from_the_teacher_is_by_name() -> None:
    one = taught()
    one.retrain("job", {}, [*WITHOUT_B, {"type": "add_classes", "classes": ["b"]}], 1, [])
    assert one.retraining is not None
    (trial,) = one.retraining.halving.trials
    teacher = trial.course.state.references.teacher
    assert trial.course.classes == ["a", "c", "b"] and teacher is not None
    inputs = one.replay_buffer.examples.inputs
    with torch.no_grad():
        assert torch.equal(teacher.eval()(inputs), one.promotion.champion.eval()(inputs)[:, [0, 2, 1]])


def test_versions_of_other_classes_pull_no_output_and_are_not_averaged() -> None:
    one = taught()
    old = weights_of(one)
    one.change_recipe({"l2_sp": {"version": 1}}, {1: old})
    one.retrain("job", {}, WITHOUT_B, 2, [])
    assert one.retraining is not None
    for course, is_whole in ((one.course, True), (one.retraining.course, False)):
        origin = origin_of(course)
        assert "network.linear1.weight" in origin and ("output.weight" in origin) == is_whole
    one.finish(2)
    assert "output.weight" not in origin_of(one.course)
    one.change_recipe({"l2_sp": {"version": 2}}, {2: weights_of(one)})
    assert len(origin_of(one.course)["output.weight"]) == 2
    with pytest.raises(InvalidInput, match="version 1 is of another structure"):
        one.retrain("job", {}, [{"type": "average", "versions": [1]}], 1, [], {1: weights_of(one)})


def test_an_entry_of_a_race_cannot_remove_classes() -> None:
    one = taught()
    with pytest.raises(InvalidInput) as refused:
        one.retrain("job", {}, [], 1, [], race=[{}, {"edits": WITHOUT_B}])
    assert refused.value.details["field"] == "race[1].edits" and "by the edits of the job" in refused.value.message
    one.retrain("job", {}, WITHOUT_B, 1, [], race=[{}, {"edits": [{"type": "add_classes", "classes": ["b"]}]}])
    one.finish(2)
    assert one.classes in (["a", "c"], ["a", "c", "b"])

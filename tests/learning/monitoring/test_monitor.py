"""What an alarm tells, and what the recipe does after it; all of it the same when a step is repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from driftline.learning.learner import Learner
from driftline.learning.monitoring.input_drift import InputDriftMonitor, embedding
from driftline.learning.step_result import StepResult
from driftline.networks.served_model import evaluating
from driftline.records import Answer, Item, Plan
from driftline.rows.fields import coder_of
from driftline.spec.parts.detectors import InputDetector
from tests.learning.conftest import (
    WIDTH,
    answered,
    assert_same,
    item,
    learner,
    play,
    restored,
    row_of,
    spec,
    weights_of,
    world,
)

RIGHT = {0: np.array([0.9, 0.1], np.float32), 1: np.array([0.1, 0.9], np.float32)}

FIRST_LABELS = 1000
"""Labels before the embedding is looked at."""


def served(items: list[Item], wrong: set[int]) -> list[Item]:
    """Items as they were answered: rightly, but for the classes that are ``wrong``."""
    found = []
    for each in items:
        label = int(each.label) ^ (each.label in wrong)  # type: ignore[arg-type]
        answer = Answer(1, label, RIGHT[label].tobytes())
        found.append(Item(each.id, each.inputs, each.label, answer=answer))
    return found


def changing(before: int = 640, after: int = 160) -> list[Item]:
    """Items of which class 1 is answered wrongly from one on."""
    return served(world(before), set()) + served(world(after, before), {1})


def steps(learner: Learner, items: list[Item], first: int = 1, size: int = 16) -> list[StepResult]:
    """Learns in steps; an alarm may fork a job."""
    return [
        learner.learn(items[start : start + size], range(first + start, first + start + size), plan)
        for start in range(0, len(items), size)
        for plan in [Plan(updates=1, publish=True, job=f"job{start}")]
    ]


def test_an_alarm_tells_since_when_and_which_class() -> None:
    outcomes = steps(learner(), changing())
    alarm = next(alarm for outcome in outcomes for alarm in outcome.alarms)
    assert alarm.kind == "drift" and 640 < alarm.at <= 740
    assert abs(alarm.since - 641) <= 10
    assert [moved["class"] for moved in alarm.classes] == [1]
    assert "most in 1" in alarm.message


def test_moved_inputs_are_told_and_touch_nothing_else() -> None:
    one, other = learner(), learner(recipe={"input_detector": None})
    items = served(world(800), set()) + [shifted(each) for each in served(world(480, 800), set())]
    told = [alarm for outcome in steps(one, items) for alarm in outcome.alarms]
    steps(other, items)
    assert [alarm.kind for alarm in told] == ["inputs"]
    assert told[0].features[0]["index"] == [2] and abs(told[0].since - 801) <= 10
    assert one.promotion.holdout.since == 0 and not one.monitor.is_hurried(told[0].at)
    assert one.digest() == other.digest(), "what watches the inputs changes nothing that is learned"


def shifted(one: Item) -> Item:
    row = row_of(one).copy()
    row[2] += 3
    return Item(one.id, {"inputs": row.tobytes()}, one.label, answer=one.answer)


def test_an_embedding_that_moves_is_told_where_no_number_does() -> None:
    """Each number stays as it was, but two that were independent are now opposites."""
    one = learner(recipe={"input_detector": {"reference": 300, "recent": 200}, "optimizer": {"learning_rate": 0.02}})
    rows = np.random.default_rng(0).normal(size=(FIRST_LABELS + 2200, WIDTH)).astype(np.float32)
    rows[2200:, 1] = -rows[2200:, 0]
    items = [item(row, int(row[0] + row[1] > 0)) for row in rows]
    told = [alarm for outcome in steps(one, items) for alarm in outcome.alarms]
    assert told and {feature["input"] for feature in told[0].features} == {"embedding"}
    assert told[0].since > 2100


def test_that_time_goes_on_is_no_drift_of_the_embedding() -> None:
    one = learner(inputs={"fields": {"x": "number", "at": "time"}}, recipe={"strategy": "replay"})
    coder, numbers = coder_of(one.spec.fields), np.random.default_rng(0).normal(size=64)  # type: ignore[arg-type]

    def rows(pace: float) -> list[dict[str, float]]:
        return [{"x": float(number), "at": 1.7e9 + pace * place} for place, number in enumerate(numbers)]

    records = coder.from_rows(rows(60))[1]
    steps(one, [Item(f"i{n}", {"inputs": record}, int(numbers[n] > 0)) for n, record in enumerate(records)])
    seen = []
    for pace in (60, 1e6):
        coded = {name: torch.from_numpy(array) for name, array in coder.from_rows(rows(pace))[0].items()}
        monitor = InputDriftMonitor(InputDetector(), one.monitor.former, first_labels=0)
        monitor.see(coded, range(64), evaluating(one.module), learned=64)
        seen.append(monitor.embedding.state_dict())
    assert seen[0].tensors
    assert_same(*seen)


def test_the_embedding_is_what_the_output_layer_is_given() -> None:
    one = learner()
    rows = {"inputs": torch.randn(5, WIDTH)}
    units = embedding(one.module, rows)
    assert units.shape == (5, 8)
    assert torch.equal(one.module.output(units), one.module(rows))


@pytest.mark.parametrize("answer", ["tell", "faster", "shorten", "retrain"])
def test_each_answer_is_given_and_is_the_same_when_the_steps_are_repeated(answer: str) -> None:
    one = learner(recipe={"on_alarm": answer})
    steps(one, changing()[:640])
    other = restored(one)
    outcomes = [steps(each, changing()[640:], first=641) for each in (one, other)]
    assert outcomes[0] == outcomes[1]
    assert_same(one.state_dict(), other.state_dict())
    alarm = one.monitor.alarms[-1]
    assert one.monitor.is_hurried(alarm.at + 511) == (answer == "faster") and not one.monitor.is_hurried(alarm.at + 512)
    assert (one.retraining is not None) == (answer == "retrain")
    assert (len(one.replay_buffer) < 300) == (answer == "shorten")


def test_a_shortened_replay_buffer_holds_what_came_since_the_change() -> None:
    one, items = learner(recipe={"on_alarm": "shorten", "gate": {"holdout": 0}}), changing()
    for start in range(0, len(items), 16):
        outcome = one.learn(items[start : start + 16], range(start + 1, start + 17), Plan(updates=1))
        if outcome.alarms:
            break
    since = outcome.alarms[-1].since
    kept = {tuple(row) for row in one.replay_buffer.examples.inputs["inputs"].tolist()}
    assert kept == {tuple(row_of(i).tolist()) for i in items[since - 1 : start + 16]}


def test_a_job_that_an_alarm_forks_ends_as_any_other() -> None:
    one = learner(recipe={"on_alarm": "retrain"})
    outcomes = steps(one, changing())
    (forked,) = [outcome.forked for outcome in outcomes if outcome.forked]
    assert one.retraining is not None and one.retraining.job == forked
    assert 0 < len(one.retraining.examples) < 200
    assert one.finish(2).decision is not None and one.retraining is None


def test_without_a_name_for_it_no_job_is_forked() -> None:
    one = learner(recipe={"on_alarm": "retrain"})
    play(one, changing())
    assert one.monitor.alarms and one.retraining is None


def test_only_what_an_answer_needs_is_kept() -> None:
    one = learner()
    play(one, world(64))
    assert not len(one.monitor.recent.numbers)
    one.change_recipe({"on_alarm": "shorten"})
    play(one, world(64))
    assert 0 < len(one.monitor.recent.numbers) <= one.monitor.max_recent
    one.change_recipe({"on_alarm": "tell", "input_detector": None})
    assert not len(one.monitor.recent.numbers) and one.monitor.input_drift is None
    one.change_recipe({"input_detector": {"alpha": 0.01}})
    assert one.spec.recipe.input_detector is not None and one.spec.recipe.input_detector.alpha == 0.01


def test_input_alarms_are_answered_where_the_recipe_says_so() -> None:
    one = learner(recipe={"input_detector": {"answered": True}})
    steps(one, served(world(800), set()) + [shifted(each) for each in served(world(480, 800), set())])
    assert one.monitor.alarms[-1].kind == "inputs" and one.monitor.is_hurried(one.monitor.alarms[-1].at + 1)


@pytest.mark.parametrize("changes", [{}, {"recipe": {"on_alarm": "shorten"}}, {"recipe": {"input_detector": None}}])
def test_the_whole_state_survives_beyond_the_first_frozen_copy(changes: dict[str, Any]) -> None:
    one = learner(**changes)
    play(one, answered(world(FIRST_LABELS + 200), is_right=True), size=100)
    other = restored(one)
    assert_same(one.state_dict(), other.state_dict())
    for each in (one, other):
        play(each, answered(world(300, 2000), is_right=False), size=100)
    assert_same(one.state_dict(), other.state_dict())


def test_a_rollback_dismisses_the_frozen_copy() -> None:
    one = learner(classes="open", recipe={"gate": {"mode": "off"}})
    play(one, world(64, names=["a", "b"]))
    version = (one.spec, one.classes_of(one.served), weights_of(one))
    play(one, world(FIRST_LABELS + 100, names=["a", "b", "c"]), size=100)
    assert one.monitor.input_drift is not None and one.monitor.input_drift.frozen_copy is not None
    one.rollback(*version, 9)
    assert one.monitor.input_drift.frozen_copy is None
    play(one, world(200, 5000, names=["a", "b", "c"]), size=100)
    assert_same(restored(one).state_dict(), one.state_dict())


def test_forgetting_is_how_far_classes_fell_below_their_best() -> None:
    one = learner(recipe={"gate": {"mode": "off", "holdout": 0.5}, "optimizer": {"learning_rate": 0.05}})
    assert "forgetting" not in one.metrics()
    play(one, world(300))
    learned = one.metrics()
    assert learned["forgetting"] < 0.1
    one.promotion.champion = learner().promotion.champion
    one.monitor.measured_at = 0
    one.monitor.measure_forgetting(one.promotion.champion, one.promotion.holdout.examples, one.classes, one.learned)
    assert one.metrics()["forgetting"] > learned["forgetting"] + 0.1


def test_an_unknown_answer_is_refused() -> None:
    with pytest.raises(Exception, match="on_alarm"):
        spec(recipe={"on_alarm": "panic"})


def test_an_alarm_of_the_error_is_over_once_errors_are_as_before() -> None:
    one, rows = learner(), [item for item in world(2000) if item.label == 1]

    def learned(count: int, first: int, wrong: set[int]) -> StepResult:
        items = served(rows[first : first + count], wrong)
        return one.learn(items, list(range(first + 1, first + 1 + count)), Plan())

    assert not learned(400, 0, set()).alarms
    result = learned(100, 400, {1})
    assert {alarm.kind for alarm in result.alarms} == {"drift"} and not result.over
    alarm = one.monitor.alarms[-1]
    assert alarm.before is not None and alarm.now is not None and alarm.before < alarm.now
    assert not learned(50, 500, set()).over, "half of the newest labels were answered wrongly"
    assert one.monitor.standing == {"drift"}
    assert learned(60, 550, set()).over == ["drift"] and one.monitor.standing == set()

"""A candidate takes the champion's place unless it is shown to be worse."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.learning.examples import Examples
from driftline.learning.learner import Learner
from driftline.learning.promotion import gate
from driftline.learning.promotion.gate import Comparison, Decision, GateLimits, decide
from driftline.networks.build import build
from driftline.networks.served_model import ServedModel
from driftline.records import Plan
from tests.learning.conftest import (
    accuracy,
    answered,
    examples_of,
    item,
    learner,
    restored,
    spec,
    turned,
    values,
    weights_of,
    world,
)

BITS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


def compared(candidate: list[float], other: list[float]) -> Comparison:
    return Comparison("held-out labels", torch.tensor(candidate), torch.tensor(other))


def more_errors(count: int, rows: int = 100) -> Comparison:
    """Two that err alike, but for ``count`` rows that only the candidate gets wrong."""
    return compared([1.0] * count + [0.0] * (rows - count), [0.0] * rows)


def straight(angle: float = 0.0, **changes: Any) -> Learner:
    """A learner whose champion answers by the first number alone, turned by so many degrees towards the second."""
    changes["recipe"] = {"strategy": "replay", **changes.get("recipe", {})}
    found = learner(network={"layers": []}, **changes)
    turn(found, angle)
    found.promotion.champion.load_state_dict(found.module.state_dict())
    return found


def turn(learner: Learner, angle: float) -> None:
    right = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle)), 0, 0])
    with torch.no_grad():
        learner.module.output.get_parameter("weight").copy_(torch.stack([-right, right]))
        learner.module.output.get_parameter("bias").zero_()


@pytest.mark.parametrize(
    ("ours", "others", "reason", "judgement"),
    [
        ([], [], "promoted unjudged: nothing to compare on yet", "not judged"),
        ([1.0] * 4, [0.0] * 4, "promoted unjudged: too little to judge by: the candidate errs 1.000", "not judged"),
        ([0.0, 1.0] * 20, [1.0, 0.0] * 20, "not worse: the candidate errs 0.500, the champion 0.500", "not worse"),
        ([0.0] * 40, [1.0, 0.0] * 20, "better: the candidate errs 0.000, the champion 0.500", "better"),
        ([1.0, 0.0] * 20, [0.0] * 40, "worse: the candidate errs 0.500, the champion 0.000", "worse"),
    ],
)
def test_the_gate_says_what_it_knows(ours: list[float], others: list[float], reason: str, judgement: str) -> None:
    decision = decide([Comparison("held-out labels", torch.tensor(ours), torch.tensor(others))])
    assert decision.reason.startswith(reason) and decision.judgement == judgement
    assert decision.promoted == (judgement != "worse")
    assert decision.is_unjudged == (judgement == "not judged")


def test_worse_by_more_than_two_standard_errors_is_rejected() -> None:
    decision = decide([more_errors(4)])
    assert not decision.promoted
    assert decision.reason == "worse: the candidate errs 0.040, the champion 0.000, on 100 held-out labels"
    assert decision.scores["held-out labels_error"] == pytest.approx(0.04)
    assert decide([more_errors(3)]).promoted, "1.75 standard errors"


def test_one_comparison_that_is_worse_is_enough() -> None:
    assert not decide([more_errors(0), more_errors(20), more_errors(0)]).promoted


@given(BITS)
@settings(max_examples=60)
def test_of_two_at_most_one_is_worse(errors: list[tuple[int, int]]) -> None:
    one, other = [float(a) for a, _ in errors], [float(b) for _, b in errors]
    assert not (compared(one, other).is_worse and compared(other, one).is_worse)
    assert decide([compared(one, one)]).promoted
    if sum(one) <= sum(other):
        assert decide([compared(one, other)]).promoted


def test_the_comparison_is_paired() -> None:
    hard = torch.rand(50, generator=torch.Generator().manual_seed(0)) * 100
    slightly = torch.linspace(0.05, 0.15, 50)
    assert Comparison("labels", hard + slightly, hard).is_worse
    assert not Comparison("labels", (hard + slightly).flip(0), hard).is_worse


def test_few_rows_decide_nothing() -> None:
    assert decide([]).promoted
    assert decide([more_errors(9, rows=9)]).promoted
    assert not decide([more_errors(10, rows=10)]).promoted


def test_few_held_out_rows_are_compared_where_there_is_nothing_else() -> None:
    found = straight(recipe={"gate": {"holdout": 0.5}})
    found.learn(world(100), range(100), Plan())
    turn(found, 180)
    assert 10 < len(found.promotion.holdout) < GateLimits().min_held_out
    compared = found.promotion.compare
    latest = Comparison("latest labels", torch.zeros(64), torch.zeros(64))
    assert "held-out" not in compared(found.module, found.learned, latest)[0].reason
    few = Comparison("latest labels", torch.zeros(9), torch.zeros(9))
    for is_alone in (few, None):
        decision = compared(found.module, found.learned, is_alone)[0]
        assert decision.judgement == "worse" and "held-out" in decision.reason
    held_out = found.promotion.holdout.current()
    found.promotion.leave_out(held_out.numbers[gate.MIN_COMPARED - 1 :])
    assert compared(found.module, found.learned)[0].is_unjudged, "that is nothing"


def test_the_errors_are_those_of_the_answers() -> None:
    found = straight()
    rows = examples_of(found, [item([1, 0, 0, 0], 1), item([-1, 0, 0, 0], 1), item([-2, 0, 0, 0], 0)])
    assert gate.errors(found.module, rows).tolist() == [0, 1, 0]
    assert gate.errors(found.module, rows.take(slice(0, 0))).tolist() == []
    nothing = build(spec(classes="open"), [], seed=0)
    assert gate.errors(nothing, rows).tolist() == [1, 1, 1]


def test_the_errors_of_a_regression_are_in_its_own_units() -> None:
    found = learner(task="regression", classes=None)
    found.learn(values(64), range(64), Plan())
    rows = examples_of(found, values(5, first=500))
    with torch.no_grad():
        answers = found.module.predict(rows.inputs)[:, 0]
    assert gate.errors(found.module, rows).tolist() == (answers - rows.targets).abs().tolist()
    assert gate.errors(found.module, rows).max() < 500


@pytest.mark.parametrize("mode", ["auto", "off"])
@pytest.mark.parametrize("weight", [math.nan, math.inf])
@pytest.mark.parametrize("labels", [1, 100])
def test_weights_that_are_not_finite_never_pass(mode: str, weight: float, labels: int) -> None:
    found = straight(recipe={"gate": {"mode": mode}})
    found.learn(world(labels), range(labels), Plan())
    with torch.no_grad():
        found.module.output.get_parameter("weight")[0, 0] = weight
    decision = found.learn([], [], Plan(publish=True)).decision
    assert decision is not None and not decision.promoted and "not finite" in decision.reason
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights_of(found).values() if tensor.dim())


def test_a_running_statistic_that_is_not_finite_never_passes() -> None:
    found = learner(network={"layers": [{"type": "batch_norm"}]})
    found.module.network.batch_norm1.running_var.fill_(math.inf)  # type: ignore[union-attr, operator]
    assert not found.module.is_finite()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_answers_that_are_not_finite_are_errors(task: str) -> None:
    changes: dict[str, Any] = {"task": "regression", "classes": None} if task == "regression" else {}
    found = learner(**changes, recipe={"strategy": "replay", "gate": {"holdout": 0.5}})
    items = values(200) if task == "regression" else world(200)
    found.learn(items, range(200), Plan(publish=True))
    with torch.no_grad():
        for parameter in found.module.parameters():
            parameter.fill_(1e30)
    assert found.module.is_finite()
    decision = found.learn([], [], Plan(publish=True)).decision
    assert decision is not None and not decision.promoted
    assert "Infinity" not in json.dumps(decision.as_json()) and "NaN" not in json.dumps(decision.as_json())


def test_a_worse_candidate_is_not_served_and_learning_goes_on_from_it() -> None:
    found = straight(recipe={"gate": {"holdout": 0.5}})
    found.learn(world(200), range(200), Plan(publish=True))
    turn(found, 180)
    decision = found.learn([], [], Plan(publish=True)).decision
    assert (
        decision is not None and not decision.promoted and decision.reason.startswith("worse: the candidate errs 1.000")
    )
    assert found.promotion.champion.output.get_parameter("weight")[0, 0] == -1
    assert found.module.output.get_parameter("weight")[0, 0] == 1


def test_labels_from_before_an_alarm_are_not_compared_on() -> None:
    found = straight(recipe={"gate": {"holdout": 0.5}})
    found.learn(world(200), range(200), Plan(publish=True))
    found.promotion.holdout.on_drift(201)
    turn(found, 180)
    decision = found.learn([], [], Plan(publish=True)).decision
    assert decision is not None and decision.is_unjudged


def test_what_has_come_since_a_drift_began_judges_at_its_alarm() -> None:
    """One of ten answers is wrong, then one of three; the alarm, which is late, knows since when."""
    found = straight(recipe={"gate": {"holdout": 0.2}, "detector": "ddm"})
    alarms, come = [], world(2000)
    for n, each in enumerate(come, 1):
        is_right = n % (10 if n <= 500 else 3) > 0
        alarms += found.learn(answered([each], is_right), [n], Plan(updates=0)).alarms
        if alarms:
            break
    held_out = found.promotion.holdout.current()
    assert 490 < alarms[-1].since < alarms[-1].at and held_out.numbers.min() >= alarms[-1].since
    assert len(held_out) < len(found.promotion.holdout)
    assert torch.equal(held_out.numbers, restored(found).promotion.holdout.current().numbers)


def test_small_losses_do_not_add_up_beyond_the_anchor() -> None:
    found = straight(recipe={"gate": {"holdout": 0.5}})
    found.module.scale.inputs.fix()  # type: ignore[operator]
    found.learn(world(20), range(20), Plan(updates=0, publish=True))
    decisions = []
    for step in range(1, 13):
        turn(found, 0.9 * step)
        numbers = range(100 * step, 100 * step + 100)
        decisions.append(found.learn(world(100, first=100 * step), numbers, Plan(updates=0, publish=True)).decision)
    fell = [decision.promoted for decision in decisions if decision is not None]
    assert fell == [True] * 9 + [False] * 3
    assert decisions[9] is not None and "of the anchor" in decisions[9].reason
    assert "latest" not in decisions[9].reason
    assert restored(found).promotion.anchored_at == 20


def test_small_steps_are_compared_together_and_taken_back_when_they_have_harmed() -> None:
    found = straight(recipe={"gate": {"holdout": 0.5}})
    found.learn(world(200), range(200), Plan(publish=True))
    good = weights_of(found)
    turn(found, 180)
    harmed = [
        found.learn([i], [n], Plan(publish=True)).decision
        for n, i in enumerate(world(GateLimits().labels_between - 1, first=300))
    ]
    assert all(decision is not None and decision.promoted for decision in harmed), "too few to tell a loss from chance"
    assert not torch.equal(weights_of(found)["output.weight"], good["output.weight"])
    last = found.learn(world(1, first=900), [900], Plan(publish=True)).decision
    assert last is not None and last.restored and last.reason.startswith("worse")
    assert torch.equal(weights_of(found)["output.weight"], good["output.weight"])
    again = found.learn(world(1, first=901), [901], Plan(publish=True)).decision
    assert again is not None and not again.promoted and not again.restored, "on trial, each is compared"
    found.module.load_state_dict(found.promotion.champion.state_dict())
    freed = found.learn(world(1, first=902), [902], Plan(publish=True)).decision
    assert freed is not None and freed.promoted and "errs" in freed.reason
    other = restored(found)
    assert (other.promotion.rejected_streak, other.promotion.compared_at, other.promotion.is_ahead) == (
        None,
        found.promotion.compared_at,
        False,
    )


def refused() -> Learner:
    """A learner with a good champion, and a candidate that is worse on what is held out."""
    found = straight(recipe={"gate": {"holdout": 0.5}})
    found.learn(world(200), range(200), Plan(publish=True))
    turn(found, 180)
    decision = found.learn([], [], Plan(publish=True)).decision
    assert decision is not None and not decision.promoted and found.promotion.rejected_streak is not None
    return found


def test_the_newest_labels_overrule_what_was_held_out_in_another_world() -> None:
    found = refused()
    other = turned(world(60, 900))
    half = restored(found)
    for each in (found, half):
        first = each.learn(other[:20], range(201, 221), Plan(publish=True)).decision
        assert first is not None and not first.promoted, "too few to tell"
        second = each.learn(other[20:], range(221, 261), Plan(publish=True)).decision
        assert second is not None and second.promoted and "better" in second.reason
    kept = found.promotion.holdout.current()
    assert found.promotion.rejected_streak is None
    assert len(kept) > 0 and bool((kept.numbers > 200).all()), "what came since it was refused judges on"


def test_a_learner_that_is_refused_for_good_begins_again_and_its_labels_are_served() -> None:
    found = refused()
    promoted = []
    for step in range(12):
        turn(found, 180)
        items = world(100, first=1000 + 100 * step)
        decision = found.learn(items, range(100), Plan(publish=True)).decision
        promoted.append(decision is not None and decision.promoted)
    assert promoted.index(True) == 9
    assert "begun again" in str(decision) or accuracy(found, world(200, 9000)) > 0.9


def test_labels_that_came_singly_overrule_what_was_held_out_at_once() -> None:
    found = straight(recipe={"gate": {"holdout": 0.5}})
    found.learn(world(200), range(200), Plan(publish=True))
    turn(found, 180)
    other = turned(world(GateLimits().labels_between, 900))
    for n, one in enumerate(other[:-1]):
        assert found.learn([one], [n], Plan(publish=True)).decision == Decision(
            True, f"promoted unjudged: {n + 1} labels since the last comparison"
        )
        found = restored(found)
    last = found.learn(other[-1:], [GateLimits().labels_between - 1], Plan(publish=True)).decision
    assert last is not None and last.promoted and "better" in last.reason
    assert f"on {GateLimits().labels_between} latest labels" in last.reason


def test_what_was_served_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of the newest version are those of the candidate, while it has learned nothing since."""
    found = straight(recipe={"gate": {"holdout": 0.0}})
    found.learn(world(64), range(64), Plan(publish=True, version=2))
    asked: list[int] = []

    def computed(module: ServedModel, rows: Examples) -> torch.Tensor:
        asked.append(len(rows))
        return torch.zeros(len(rows))

    monkeypatch.setattr("driftline.learning.promotion.controller.gate.errors", computed)
    for version, answered_by in ((3, 2), (4, 2)):
        right = answered(world(2, 100 * version), True, answered_by, outputs=b"")
        found.learn(right, range(2), Plan(publish=True, version=version))
    assert asked == [2], "version 2 answered before the labels of the first step were learned"
    assert found.promotion.comparison_buffer.errors.tolist() == [0.0] * 4


def test_the_champion_is_asked_but_once_about_each_row_that_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = straight(recipe={"gate": {"holdout": 0.5}}), gate.errors
    found.learn(world(200), range(200), Plan(publish=True))
    found.learn(world(100, 200), range(100), Plan(publish=True))
    counts: list[tuple[bool, int]] = []

    def counting(module: ServedModel, rows: Examples, in_order: bool = True) -> torch.Tensor:
        counts.append((module is found.promotion.champion, len(rows)))
        return asked(module, rows, in_order)

    monkeypatch.setattr("driftline.learning.promotion.controller.gate.errors", counting)
    known = len(found.promotion.holdout)
    other = restored(found)
    decision = found.learn(world(100, 300), range(100), Plan(publish=True)).decision
    held = len(found.promotion.holdout)
    assert (True, held - known) in counts and (False, held) in counts and held > known
    assert decision is not None and "held-out" in decision.reason
    monkeypatch.undo()
    found.change_recipe({"gate": {"holdout_size": 40}})
    rows, errors = found.promotion.holdout.present()
    assert len(rows) == 40 and torch.equal(errors, asked(found.promotion.champion, rows, in_order=False)), (
        "they go along"
    )
    assert other.learn(world(100, 300), range(100), Plan(publish=True)).decision == decision

"""A race between recipes: fair, cheap, and the same whatever interrupts it."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.examples import Examples
from driftline.learning.learner import Learner
from driftline.learning.retraining.budget import HalvingBudget, halving, searching
from driftline.learning.retraining.dry_run import dry_run
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.retraining.plan import FACTORS, HIGHEST_RATE, RetrainPlan, check_retrain
from driftline.learning.retraining.trial import TrainingFailed
from driftline.learning.training.training_step import TrainingStep
from driftline.networks.build import build
from driftline.networks.model import Model
from tests.learning.conftest import assert_same, learner, play, restored, spec, through_files, values, world

FIND = {"optimizer": {"learning_rate": "find"}}
FUNCTIONS = ["tests.learning.functions:raising", "tests.learning.functions:nan"]
RAISING, NAN = ({"loss": {"name": "custom", "function": name}} for name in FUNCTIONS)
WIDEN = {"type": "widen", "layer": "linear1", "features": 12}
DROPOUT = {"layers": [{"type": "linear", "features": 8}, {"type": "relu"}, {"type": "dropout", "share": 0.3}]}
RATES = [{"optimizer": {"learning_rate": rate}} for rate in (0.0001, 0.02, 0.0003, 0.001)]
MIXED = [
    RATES[0],
    {"recipe": {"loss": "focal", "averaging": "ema", "batch_size": 16}, "edits": [WIDEN]},
    {"optimizer": {"name": "sgd", "momentum": 0.9}},
    {"strategy": "experts", "loss": "hinge"},
]


def begun(
    race: list[Any] | None = None, recipe: dict[str, Any] | None = None, epochs: int = 3, **changes: Any
) -> tuple[Learner, RetrainJob]:
    own = {"strategy": "replay", "gate": {"mode": "off", "holdout": 0}}
    one = learner(**{"network": DROPOUT, "recipe": own} | changes)
    one.factories = FUNCTIONS
    one.retrain(
        "job", recipe or {}, [], epochs, (values if one.spec.task == "regression" else world)(300), race=race or []
    )
    assert one.retraining is not None
    return one, one.retraining


def run(job: RetrainJob) -> list[dict[str, Any]]:
    """The table of a race when it is decided."""
    while not job.halving.is_decided:
        job.advance(1)
    table: list[dict[str, Any]] = job.report()["race"]
    return table


def test_the_better_ones_train_on_and_the_best_is_gone_on_with_to_the_full_budget() -> None:
    one, job = begun(RATES, epochs=4)
    table = run(job)
    assert [row["outcome"] for row in table] == ["lost", "won", "lost", "lost"]
    assert sorted(row["updates"] for row in table) == [5, 5, 10, 10]
    assert table[1]["accuracy"] == max(row["accuracy"] for row in table) and table[1]["log_loss"] > 0
    raced = job.course.module.state_dict()["output.weight"].clone()
    assert job.halving.leader.done == 10 and job.course.state.labels == 640, "it goes on from what it has learned"
    job.advance(1)
    assert not torch.equal(raced, job.course.module.state_dict()["output.weight"])
    one.finish(2)
    assert job.halving.leader.done == job.halving.leader.rung_schedule.total == 20
    assert one.spec.recipe.optimizer.learning_rate == 0.02 and one.course is job.course


@pytest.mark.parametrize("total", [4, 7, 100, 235])
def test_four_recipes_cost_less_than_two_and_a_half_times_one(total: int) -> None:
    assert halving([total] * 4).most([1] * 4) <= 2 * total
    one, job = begun(RATES)
    one.finish(2)
    assert job.halving.done <= 2 * job.halving.leader.rung_schedule.total


def test_the_budget_is_halved_from_the_end() -> None:
    budget = halving([80] * 5)
    assert budget.keeps == [3, 2, 1] and budget.rung_schedules[0].rungs == [10, 20, 40]
    assert budget.most([1] * 5) == 5 * 10 + 3 * 10 + 2 * 20 + 40
    assert budget.most([1, 1, 1, 1, 9]) == (4 + 9) * 10 + (2 + 9) * 10 + (1 + 9) * 20 + 9 * 40, "the dearest might win"
    assert halving([7]) == HalvingBudget(halving([7]).rung_schedules, []) and halving([7]).most([1]) == 7
    assert searching(7, 10, 300, 64).most([1] * 7) == 7 * 10 + 10


def test_every_trial_has_the_same_start_random_state_and_examples() -> None:
    _, job = begun([*RATES[:3], RATES[1]])
    starts = [trial.state_dict().tensors for trial in job.halving.trials]
    for one, other in itertools.pairwise(starts):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    table = run(job)
    same = [{name: value for name, value in table[n].items() if name not in ("outcome", "updates")} for n in (1, 3)]
    assert same[0] == same[1], "equals are judged alike"
    assert (table[1]["outcome"], table[3]["outcome"]) == ("won", "lost"), "and the first one stays"


def test_what_trials_are_compared_on_is_not_trained_on_before_there_is_a_winner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: set[tuple[float, ...]] = set()
    make_update = TrainingStep.__call__

    def watched(step: TrainingStep, examples: Examples) -> str | None:
        seen.update(map(tuple, examples.inputs["inputs"].tolist()))
        return make_update(step, examples)

    monkeypatch.setattr(TrainingStep, "__call__", watched)
    one = learner(recipe={"gate": {"mode": "off", "holdout": 0}})
    play(one, world(300))
    one.retrain("job", {}, [], 3, world(300), race=RATES)
    job = one.retraining
    assert job is not None and len(job.examples) == 600, "from the replay buffer and from the log"
    seen.clear()
    held = set(map(tuple, job.examples.take(job.halving.split.held).inputs["inputs"].tolist()))
    run(job)
    assert len(held) == 60 and len(seen) > 200 and not held & seen
    job.advance(job.halving.left)
    assert held & seen, "the winner then learns from all of them"


@pytest.mark.parametrize("changes", [{}, {"task": "regression", "classes": None}])
def test_the_models_own_measure_judges_and_not_the_losses_of_the_recipes(changes: dict[str, Any]) -> None:
    is_regression = "task" in changes
    tiny = {"loss": "mae"} if is_regression else {"loss": "focal"}
    _, job = begun([{}, tiny], **changes)
    table = run(job)
    first, second = ("mae", "rmse") if is_regression else ("accuracy", "log_loss")
    for row in table:
        assert {"updates", first, second, "outcome"} <= row.keys()
    with torch.no_grad():
        answers = job.course.module.eval().predict(job.examples.take(job.halving.split.held).inputs)
    targets = job.examples.targets[job.halving.split.held]
    won = next(row for row in table if row["outcome"] == "won")
    if is_regression:
        assert won["mae"] == pytest.approx(float((answers[:, 0] - targets).abs().mean()))
        assert won["mae"] == min(row["mae"] for row in table)
    else:
        assert won["accuracy"] == pytest.approx(float((answers.argmax(1) == targets).double().mean()))
        assert won["log_loss"] == pytest.approx(float(torch.nn.functional.nll_loss(answers.log(), targets)))


@pytest.mark.parametrize("cut", [0, 1, 5, 14, 17, 25])
def test_it_goes_on_from_its_state_bit_for_bit(cut: int) -> None:
    one, job = begun([*MIXED, RAISING])
    job.advance(cut)
    one.change_recipe({"strategy": "experts", "updates": 3})
    play(one, world(40, 500))
    other = Learner.from_state(through_files(one.state_dict()), factories=FUNCTIONS)
    assert_same(one.state_dict(), other.state_dict())
    for each in (one, other):
        assert each.retraining is not None
        each.retraining.advance(3)
        each.change_recipe({"strategy": "ewc"})
        play(each, world(40, 600))
    assert_same(one.state_dict(), other.state_dict())
    jobs = [each.retraining for each in (one, other)]
    for each in (one, other):
        each.finish(2)
    reports = [each.report()["race"] for each in jobs if each is not None]
    assert reports[0] == reports[1] and len(reports[0]) == len(MIXED) + 1
    assert_same(one.state_dict(), other.state_dict())


def test_slices_of_any_size_come_to_the_same() -> None:
    (one, job), (other, slow) = begun(MIXED), begun(MIXED)
    job.advance(10**6)
    seen = [0.0]
    while not slow.is_done:
        slow.advance(3)
        seen.append(slow.progress)
    assert seen == sorted(seen) and job.progress == seen[-1] == 1 and 0 < seen[1] < 0.2
    for each in (one, other):
        each.finish(2)
    assert one.digest() == other.digest()


def test_trials_do_not_carry_along_what_is_served_beside_the_network() -> None:
    one, _ = begun(MIXED, {"strategy": "experts"})
    assert not [
        name for name in one.state_dict().tensors if name.startswith("retraining.halving") and "experts" in name
    ]
    one.finish(2)
    assert one.module.experts is not None


def test_an_entry_may_bring_edits_and_wins_with_them() -> None:
    one, job = begun([RATES[0], {"recipe": RATES[1], "edits": [WIDEN]}], {"batch_size": 16})
    assert [row["outcome"] for row in run(job)] == ["lost", "won"]
    assert job.report()["race"][1]["edits"] == [WIDEN]
    one.finish(2)
    assert one.module.state_dict()["network.linear1.weight"].shape == (12, 4) and one.spec.recipe.batch_size == 16
    play(one, world(40, 500))
    assert_same(restored(one).state_dict(), one.state_dict())


def test_a_trial_that_raises_is_out_with_its_reason_and_the_race_goes_on() -> None:
    one, job = begun([RAISING, RATES[0], RATES[1]])
    table = run(job)
    assert [row["outcome"] for row in table] == ["failed", "lost", "won"]
    assert table[0] == {"recipe": RAISING, "updates": 0, "outcome": "failed", "reason": "ValueError: no loss today"}
    one.finish(2)
    assert one.spec.recipe.optimizer.learning_rate == 0.02


def test_a_race_of_which_all_raise_fails_with_their_reasons() -> None:
    _, job = begun([RAISING, RAISING])
    with pytest.raises(TrainingFailed, match="no recipe of the race could be trained: ValueError: no loss today"):
        run(job)
    assert [row["outcome"] for row in job.report()["race"]] == ["failed", "failed"]


def test_a_trial_that_never_learns_does_not_win_by_staying_as_it_is() -> None:
    _, job = begun([NAN, RATES[1]])
    table = run(job)
    assert [row["outcome"] for row in table] == ["failed", "won"] and "finite" in table[0]["reason"]


def test_weights_that_have_broken_down_are_judged_last() -> None:
    _, job = begun([{}, {}])
    with torch.no_grad():
        job.course.module.output.get_parameter("weight").fill_(math.nan)
    job.halving.leader.has_learned = True
    table = run(job)
    assert [row["outcome"] for row in table] == ["lost", "won"]
    assert json.loads(json.dumps(table, allow_nan=False)) == table and table[0]["accuracy"] == 0


def test_a_budget_of_hardly_any_updates_is_not_exceeded() -> None:
    _, job = begun(RATES, {"batch_size": 256}, epochs=1)
    assert (
        run(job) and job.halving.leader.done == job.halving.leader.rung_schedule.total == job.halving.leader.raced == 1
    )
    assert job.is_done and job.halving.done == 4


def test_the_stream_learns_the_same_beside_a_race_as_without_one() -> None:
    (one, job), (other, _) = begun(MIXED), begun(MIXED)
    other.cancel()
    for start in range(500, 600, 50):
        job.advance(7)
        assert play(one, world(50, start)) == play(other, world(50, start))
    one.cancel()
    assert_same(one.state_dict(), other.state_dict())


def test_a_rate_is_found_by_a_race_of_rates_in_front_of_the_jobs_own_budget() -> None:
    one, job = begun(recipe={"optimizer": {"learning_rate": "find", "name": "sgd"}}, epochs=2)
    total = 7 * 10 + 2 * 5
    assert job.halving.left == total and len(FACTORS) == 7
    table = run(job)
    rates = [row["recipe"]["optimizer"]["learning_rate"] for row in table]
    assert rates == sorted(rates) and rates[3] == 0.003 and {row["updates"] for row in table} == {10}
    one.finish(2)
    assert job.halving.done == total
    (found,) = [rate for rate, row in zip(rates, table, strict=True) if row["outcome"] == "won"]
    best = min(table, key=lambda row: (-row["accuracy"], row["log_loss"]))["recipe"]["optimizer"]["learning_rate"]
    assert one.spec.recipe.optimizer.learning_rate == found == best > 0.003
    assert one.course.state.optimizer.param_groups[0]["lr"] == found


def test_no_rate_that_is_looked_for_is_higher_than_a_recipe_may_have() -> None:
    retrain_plan = RetrainPlan.of(spec(recipe={"optimizer": {"learning_rate": 50}}), FIND)
    assert max(entry.recipe["optimizer"]["learning_rate"] for entry in retrain_plan.entries) == HIGHEST_RATE


def test_with_too_few_examples_to_judge_a_race_begins_no_job() -> None:
    one = learner(recipe={"gate": {"mode": "off", "holdout": 0}})
    for recipe, race, field in (({}, RATES, "race"), (FIND, [], "recipe.optimizer.learning_rate")):
        with pytest.raises(InvalidInput, match=r"it takes 20 different examples .* not 10") as refused:
            one.retrain("job", recipe, [], 2, world(10) * 3, race=race)
        assert refused.value.details["field"] == field and one.retraining is None


def test_the_stream_itself_has_no_rate_to_find() -> None:
    with pytest.raises(InvalidInput, match=r"recipe\.optimizer\.learning_rate: .*not 'find'"):
        learner().change_recipe(FIND)


@pytest.mark.parametrize(
    ("race", "recipe", "field"),
    [
        ([{}, {}, {"optimizer": {"learning_rate": -1}}], {}, "race[2].recipe.optimizer.learning_rate"),
        ([{}, {"recipe": {"loss": "mse"}}], {}, "race[1]"),
        ([{}, FIND], {}, "race[1].recipe.optimizer.learning_rate"),
        ([{}, {"optimizer": {"layers": {"linear9": 0}}}], {}, "race[1].recipe.optimizer.layers.linear9"),
        ([{"edits": [WIDEN, {"type": "remove", "layer": "nothing"}]}, {}], {}, "race[0].edits.1"),
        ([{"edits": [{"type": "no edit"}]}, {}], {}, "race[0].edits.0"),
        ([{}, {"recipe": {}, "epochs": 3}], {}, "race[1].epochs"),
        ([{}, {"recipe": 3}], {}, "race[1].recipe"),
        ([{}, 3], {}, "race[1]"),
        ([{}, {"loss": {"name": "custom", "function": "os:system"}}], {}, "race[1].recipe.loss.function"),
        ([{}, {}], FIND, "recipe.optimizer.learning_rate"),
    ],
)
def test_an_entry_that_does_not_fit_begins_no_job_and_is_named(
    race: list[Any], recipe: dict[str, Any], field: str
) -> None:
    one = learner()
    play(one, world(60))
    before = one.state_dict()
    model = Model(one.spec, one.classes, build(one.spec, one.classes, seed=0))
    for refusing in (
        lambda: one.retrain("job", recipe, [], 1, world(60), race=race),
        lambda: check_retrain(model, RetrainPlan.of(one.spec, recipe, race=race), []),
        lambda: dry_run(model, RetrainPlan.of(one.spec, recipe, race=race), 1, 60, []),
    ):
        with pytest.raises(InvalidInput) as refused:
            refusing()
        assert refused.value.details["field"] == field
        assert refused.value.message.startswith(field.removesuffix("linear9"))
    assert_same(one.state_dict(), before)


def test_a_dry_run_tells_what_a_race_costs() -> None:
    one = learner()
    before = Model(one.spec, one.classes, build(one.spec, one.classes, seed=0))
    race = [{}, {"batch_size": 64}, {}, {"edits": [WIDEN | {"features": 800}]}]
    alone = dry_run(before, RetrainPlan.of(one.spec, {}), 3, 640, [])
    found = dry_run(before, RetrainPlan.of(one.spec, {}, race=race), 3, 640, [])
    assert alone["training"]["updates"] == 30 and "race" not in alone
    assert found["training"]["updates"] == (3 * 7 + 3) + 2 * 8 + 15
    assert found["after"] == alone["after"] and found["training"]["flops"] > 100 * alone["training"]["flops"]
    assert [row["parameters"] for row in found["race"]] == [58, 58, 58, 5602] and found["race"][3]["edits"]
    cheaper = dry_run(before, RetrainPlan.of(one.spec, FIND), 3, 640, [])
    assert cheaper["training"]["updates"] == 7 * 10 + 30


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_race_in_parts_comes_to_what_it_comes_to_alone(count: int, is_interrupted: bool) -> None:
    _, alone = begun([*MIXED, RAISING, RATES[1]])
    one, shared = begun([*MIXED, RAISING, RATES[1]])
    while not alone.is_done:
        alone.advance(1)
    stages = 0
    while not shared.is_done:
        parts = shared.parts(count)
        rung = parts[0].halving.leader.rung if len(parts) > 1 else None
        for at, part in enumerate(parts):
            while not part.halving.is_through(rung) and not (is_interrupted and at == 0 and part.halving.done % 3 == 2):
                part.advance(1)
            part.advance(int(rung is None))
        shared.take_trained([part.halving.state_dict() for part in parts[::-1]], one.class_table, one.factories)
        stages += len(parts) > 1
    assert stages >= 3 and shared.report() == alone.report()
    assert_same(alone.halving.state_dict(), shared.halving.state_dict())


def test_a_race_in_parts_that_nothing_is_left_of_says_why() -> None:
    one, job = begun([RAISING, RAISING | {"batch_size": 16}])
    parts = job.parts(2)
    for part in parts:
        part.advance(1)
        assert part.halving.is_through(0)
    with pytest.raises(TrainingFailed, match="no recipe of the race could be trained"):
        job.take_trained([part.halving.state_dict() for part in parts], one.class_table, one.factories)

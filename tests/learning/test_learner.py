"""A learner is a function of its state, its items and its plans; nothing that it is told breaks it."""

from __future__ import annotations

import copy
import math
import struct
from typing import Any

import numpy as np
import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.retraining.plan import RetrainPlan, check_retrain
from driftline.networks import bundle
from driftline.networks.build import build
from driftline.networks.model import Model
from driftline.records import Answer, Item, Plan
from driftline.spec import ModelSpec, parse
from tests.learning.conftest import (
    accuracy,
    answered,
    assert_same,
    examples_of,
    item,
    learner,
    play,
    restored,
    row_of,
    spec,
    through_files,
    values,
    weights_of,
    world,
)

DROPOUT = {"layers": [{"type": "linear", "features": 8}, {"type": "relu"}, {"type": "dropout", "share": 0.3}]}
OWN = {"layers": [{"type": "linear", "features": 2}], "output": "own"}
EDITS = [{"type": "activation", "to": "tanh"}]
MANY = {"gate": {"holdout": 0.5}}
FAST = {"optimizer": {"learning_rate": 0.02}}
COLOURS: list[int | str] = ["red", "green", 3, "blue"]

WORLDS: dict[str, tuple[dict[str, Any], list[Item], list[dict[str, Any]]]] = {
    "dropout": ({"network": DROPOUT}, world(320), EDITS),
    "regression": ({"task": "regression", "classes": None, "network": DROPOUT}, values(320), EDITS),
    "experts": ({"recipe": {"strategy": "experts"}}, world(160), EDITS),
    "experts, regression": (
        {"task": "regression", "classes": None, "recipe": {"strategy": "experts"}},
        values(160),
        [],
    ),
    "open": ({"classes": "open", "network": DROPOUT}, world(160, names=COLOURS[:2]) + world(160, 160, COLOURS), EDITS),
    "own output": ({"network": OWN}, world(320), []),
    "batch norm": ({"network": {"layers": [{"type": "batch_norm"}]}}, world(320), []),
    "finetune": ({"recipe": {"strategy": "finetune", "optimizer": "sgd"}}, world(320), EDITS),
}


@pytest.fixture(params=WORLDS)
def played(request: pytest.FixtureRequest) -> tuple[Learner, list[Item], list[dict[str, Any]]]:
    """A new learner, what it is to learn, and edits that fit it."""
    changes, items, edits = WORLDS[request.param]
    if isinstance(optimizer := changes.get("recipe", {}).get("optimizer"), str):
        changes = changes | {"recipe": changes["recipe"] | {"optimizer": {"name": optimizer, "momentum": 0.9}}}
    return learner(**changes), items, edits


@pytest.mark.parametrize("cut", [0, 100])
def test_it_goes_on_from_its_state_bit_for_bit(
    played: tuple[Learner, list[Item], list[dict[str, Any]]], cut: int
) -> None:
    one, items, _ = played
    play(one, items[:cut])
    other = restored(one)
    assert_same(one.state_dict(), other.state_dict())
    outcomes = [play(each, items[cut:]) for each in (one, other)]
    assert outcomes[0] == outcomes[1]
    assert_same(one.state_dict(), other.state_dict())


def test_it_goes_on_bit_for_bit_while_a_retrain_runs(played: tuple[Learner, list[Item], list[dict[str, Any]]]) -> None:
    one, items, edits = played
    play(one, items[:100])
    one.retrain("job", {"gate": {"mode": "off"}}, edits, 3, items[:50])
    assert one.retraining is not None
    one.retraining.advance(2)
    play(one, items[100:140])
    other = restored(one)
    for each in (one, other):
        assert each.retraining is not None
        each.retraining.advance(2)
        play(each, items[140:240])
        each.finish(2)
        play(each, items[240:])
    assert_same(one.state_dict(), other.state_dict())
    assert_same(restored(one).state_dict(), one.state_dict())


def test_a_state_stays_as_it_is_while_the_learner_goes_on() -> None:
    one = learner()
    play(one, answered(world(100), is_right=True))
    state = one.state_dict()
    before = through_files(state)
    other = Learner.from_state(state)
    for each in (one, other):
        play(each, answered(world(100, 100), is_right=False))
    assert_same(state, before)


def test_torchs_own_random_state_is_left_alone() -> None:
    one = learner(network=DROPOUT)
    before = torch.get_rng_state()
    play(one, world(50))
    one.retrain("job", {}, [], 1, [])
    assert one.retraining is not None
    one.retraining.advance(5)
    one.finish(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_random_state_goes_on_from_step_to_step() -> None:
    one = learner()
    drawn = set()
    for _ in range(3):
        with one.course.state.drawing():
            drawn.add(torch.rand(1).item())
    assert len(drawn) == 3


def test_the_same_seed_learns_the_same_and_another_does_not() -> None:
    torch.manual_seed(1)
    found = [Learner.create(spec(network=DROPOUT), seed=seed) for seed in (1, 1, 2)]
    digests = []
    for each in found:
        torch.rand(3)
        digests.append(play(each, world(64)) and each.digest())
    assert digests[0] == digests[1] != digests[2]


def test_it_learns_what_there_is_to_learn() -> None:
    one = learner(recipe=FAST)
    play(one, world(400))
    assert accuracy(one, world(500, first=1000)) > 0.9


def test_it_learns_a_regression_in_its_own_units() -> None:
    one = learner(task="regression", classes=None)
    play(one, values(600), updates=4)
    rows = examples_of(one, values(200, first=1000))
    with torch.no_grad():
        answers = one.promotion.champion.eval().predict(rows.inputs)[:, 0]
    assert float((answers - rows.targets).abs().mean()) < 10, "50 is the deviation of the labels"


def logits(learner: Learner, items: list[Item]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = learner.module.eval()(examples_of(learner, items).inputs)
        return found


def test_a_label_never_seen_before_adds_a_class_and_the_old_logits_stay() -> None:
    one = learner(classes="open")
    play(one, world(96, names=["a", "b"]))
    one.module.scale.inputs.fix()  # type: ignore[operator]
    before, probe = logits(one, world(9, names=["a", "b"])), world(9, names=["a", "b"])
    one.learn([item([1, 2, 3, 4], "c"), item([1, 2, 3, 5], 7), item([1, 2, 3, 6], "7")], [97, 98, 99], Plan())
    assert sorted(one.classes[:2], key=str) == ["a", "b"] and one.classes[2:] == ["c", 7, "7"]
    assert logits(one, probe).shape == (9, 5)
    assert torch.allclose(logits(one, probe)[:, :2], before, atol=1e-6)
    assert one.classes_of(one.served) == one.classes[:2], "it is not served yet"
    one.learn([], [], Plan(publish=True))
    assert one.classes_of(one.served) == one.classes


def test_an_open_model_learns_classes_as_they_come() -> None:
    one = learner(classes="open", recipe=FAST)
    play(one, world(600, names=COLOURS))
    assert set(one.classes) == set(COLOURS)
    assert accuracy(one, world(300, 1000, COLOURS)) > 0.75


def test_the_optimizer_keeps_what_it_knows_of_the_old_classes() -> None:
    one = learner(classes="open")
    play(one, world(64, names=["a", "b"]))
    before = one.course.state.optimizer_state()["output.weight.exp_avg"].clone()
    one.learn([item([1, 2, 3, 4], "c")], [65], Plan())
    after = one.course.state.optimizer_state()["output.weight.exp_avg"]
    assert torch.equal(after[:2], before) and not after[2].any() and before.any()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("task", ["classification", "regression", "open", "own output"])
def test_a_step_that_is_not_finite_is_quarantined_and_learning_goes_on(task: str, number: float) -> None:
    changes: dict[str, dict[str, Any]] = {
        "own output": {"network": OWN},
        "open": {"classes": "open"},
        "regression": {"task": "regression", "classes": None},
    }
    one = learner(**changes.get(task, {}), recipe={"gate": {"holdout": 0}})
    items = values(300) if task == "regression" else world(300)
    play(one, items[:96])
    kept, served = len(one.replay_buffer), weights_of(one)
    poison = [*items[96:103], item([0, number, 0, 0], items[0].label)]
    outcome = one.learn(poison, range(97, 105), Plan(updates=2, publish=True))
    assert outcome.quarantined.keys() == set(range(97, 105))
    assert set(outcome.quarantined.values()) == {"the loss is not a finite number"}
    assert len(one.replay_buffer) == kept
    assert all(torch.equal(value, served[name]) for name, value in one.module.state_dict().items())
    assert not any(outcome.quarantined for outcome in play(one, items[103:]))
    assert bundle.are_finite(weights_of(one))


def test_a_champion_of_no_class_goes_on_from_its_checkpoint_when_classes_have_come() -> None:
    one = learner(classes="open", recipe={"gate": {"mode": "manual"}})
    play(one, world(64, names=["a", "b"]))
    other = restored(one)
    assert one.classes_of(one.served) == other.classes_of(other.served) == []
    for each in (one, other):
        each.promote(2)
        assert sorted(each.classes_of(each.served), key=str) == ["a", "b"]
    assert_same(one.state_dict(), other.state_dict())


def test_a_quarantined_step_keeps_the_classes_that_came_with_it() -> None:
    one = learner(classes="open")
    play(one, world(64, names=["a", "b"]))
    one.learn([item([1, 0, 0, 0], "c", route="import"), item([math.nan] * 4, "d", route="import")], [1, 2], Plan(1))
    assert set(one.classes) == {"a", "b", "c", "d"}
    assert logits(one, world(3, names=["a", "b"])).shape == (3, 4)
    play(one, world(64, 100, ["a", "b", "c", "d"]))


@pytest.mark.parametrize("size", [1e12, 1e25, 3e38])
@pytest.mark.parametrize("is_label", [False, True], ids=["in an input", "in a label"])
def test_a_number_of_any_size_leaves_a_version_that_can_be_served(size: float, is_label: bool) -> None:
    one = learner(task="regression", classes=None)
    items = values(200)
    items[50] = (
        item([1, 2, 3, 4], size, route="import") if is_label else item([size, 2, 3, -size], 1000, route="import")
    )
    play(one, items)
    fresh = build(one.spec, one.classes_of(one.served), seed=0)
    bundle.load(fresh, weights_of(one))


@pytest.mark.parametrize("served", [math.inf, -math.inf, math.nan])
def test_an_answer_that_is_not_finite_is_scored_and_learning_goes_on_from_its_checkpoint(served: float) -> None:
    one = learner(task="regression", classes=None)
    answer = Answer(1, None, struct.pack("<f", served))
    one.learn([item([1, 2, 3, 4], 5.0, answer=answer)], [1], Plan(updates=1, publish=True))
    other = restored(one)
    assert_same(one.state_dict(), other.state_dict())
    assert other.metrics()["prequential"]["count"] == 1
    play(other, answered(values(64), is_right=True))


def test_items_that_no_longer_fit_are_rejected_by_name() -> None:
    one = learner()
    wrong = [
        Item("short", {"inputs": bytes(12)}, 1),
        Item("named", {"inputs": bytes(16), "more": bytes(4)}, 1),
        item([0, 0, 0, 0], 2),
        item([0, 0, 0, 0], "1"),
    ]
    outcome = one.learn([*wrong, item([1, 0, 0, 0], 1)], [5, 6, 7, 8, 9], Plan(updates=1))
    assert outcome.rejected.keys() == {5, 6, 7, 8}
    assert outcome.rejected[5] == outcome.rejected[6] == "the inputs do not have the model's shape"
    assert outcome.rejected[7] == "2 is none of the model's classes" and "'1'" in outcome.rejected[8]
    assert not outcome.quarantined and one.learned == 1


def test_duplicates_of_an_input_fall_on_one_side_of_the_holdout() -> None:
    one = learner(recipe={"gate": {"holdout": 0.3}})
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    play(one, world(100), updates=0)
    assert len(one.replay_buffer) == 100, "of the first labels none is held out"
    play(one, [item(row, n % 2) for n in range(5) for row in rows], size=7, updates=0)
    held, kept = (
        {tuple(row) for row in examples.inputs["inputs"].tolist()}
        for examples in (one.promotion.holdout.examples, one.replay_buffer.examples.take(slice(100, None)))
    )
    assert not held & kept
    assert len(held) + len(kept) == 40 and 4 < len(held) < 20
    assert len(one.promotion.holdout) == 5 * len(held)


def test_which_are_held_out_cannot_be_told_from_outside() -> None:
    sides = []
    for seed in (1, 2):
        one = Learner.create(spec(recipe={"gate": {"holdout": 0.5}}), seed=seed)
        play(one, world(64), updates=0)
        sides.append({tuple(row) for row in one.promotion.holdout.examples.inputs["inputs"].tolist()})
    assert sides[0] != sides[1]


def test_imported_items_are_neither_scored_nor_held_out() -> None:
    one = learner(recipe=MANY)
    imported = [
        Item(i.id, i.inputs, i.label, route="import", answer=i.answer) for i in answered(world(100), is_right=False)
    ]
    outcomes = play(one, imported, size=50)
    assert (
        sum(outcome.scored for outcome in outcomes) == one.monitor.prequential.count == len(one.promotion.holdout) == 0
    )
    assert len(one.replay_buffer) == one.learned == 100
    assert all("nothing to compare on" in outcome.decision.reason for outcome in outcomes[2:] if outcome.decision)


def test_labels_without_an_answer_are_learned_but_not_scored() -> None:
    one = learner()
    assert sum(outcome.scored for outcome in play(one, world(50))) == 0
    play(one, answered(world(50, 100), is_right=True) + answered(world(10, 200), is_right=False))
    assert one.metrics()["prequential"]["count"] == 60
    assert one.metrics()["prequential"]["accuracy"] == pytest.approx(50 / 60)


def test_a_served_answer_matches_by_exact_type() -> None:
    one = learner(classes=[1, "1"])
    served = answered([item([0, 0, 0, 0], 1)], is_right=True)[0].answer
    one.learn([item([0, 0, 0, 0], "1", answer=served), item([0, 0, 0, 1], 1, answer=served)], [1, 2], Plan())
    assert one.metrics()["prequential"]["accuracy"] == 0.5


def test_a_drift_raises_an_alarm_in_the_step_result() -> None:
    one = learner()
    calm = play(one, answered(world(320), is_right=True))
    assert not any(outcome.alarms for outcome in calm)
    items = answered(world(96, 320), is_right=False)
    outcome = one.learn(items, range(321, 417), Plan(updates=1))
    assert outcome.alarms and outcome.alarms[0].kind == "drift"
    assert 321 < outcome.alarms[0].at <= 417
    assert one.metrics()["alarms"][-1]["at"] == outcome.alarms[-1].at


def test_rollback_keeps_replay_buffer_holdout_and_scores() -> None:
    one = learner(recipe=MANY)
    play(one, answered(world(100), is_right=True))
    version = (one.spec, one.classes_of(one.served), weights_of(one))
    play(one, answered(world(100, 100), is_right=False))
    one.retrain("job", {}, [], 1, [])
    one.monitor.label_selection.begin_again()  # It is about what the versions had learned that are no longer served.
    before = one.state_dict()
    one.rollback(*version, 9)
    after = one.state_dict()
    for part in ("replay_buffer", "monitor", "learned"):
        assert before.data[part] == after.data[part]
    assert before.data["promotion"]["holdout"] == after.data["promotion"]["holdout"]
    assert all(
        torch.equal(after.tensors[name], before.tensors[name]) for name in after.tensors if "replay_buffer" in name
    )
    for found in (weights_of(one), one.module.state_dict(), one.promotion.anchor.state_dict()):
        assert all(torch.equal(found[name], value) for name, value in version[2].items())
    assert not any(name.startswith("course.state.optimizer") for name in after.tensors), "the optimizer is fresh"
    assert one.retraining is None
    assert_same(restored(one).state_dict(), after)


def test_rollback_keeps_the_recipe_and_the_classes_that_came_later() -> None:
    one = learner(classes="open", recipe={"gate": {"mode": "off"}})
    play(one, world(64, names=["a", "b"]))
    version = (one.spec, one.classes_of(one.served), weights_of(one))
    play(one, world(64, 64, ["a", "b", "c"]))
    one.change_recipe({"batch_size": 7})
    one.rollback(*version, 9)
    assert one.spec.recipe.batch_size == 7
    assert len(one.classes) == 3 and one.classes_of(one.served) == one.classes
    assert torch.equal(weights_of(one)["output.weight"][:2], version[2]["output.weight"])
    play(one, world(64, 128, ["a", "b", "c", "d"]))
    assert_same(restored(one).state_dict(), one.state_dict())


def test_rollback_brings_back_another_network() -> None:
    one = learner()
    play(one, world(64))
    version = (one.spec, one.classes_of(one.served), weights_of(one))
    one.retrain("job", {"gate": {"mode": "off"}}, [{"type": "activation", "to": "prelu"}], 1, [])
    one.finish(2)
    assert "network.relu1.weight" in weights_of(one)
    one.rollback(*version, 9)
    assert weights_of(one).keys() == version[2].keys()
    play(one, world(64, 64))


BATCHES: dict[str, list[Item]] = {
    "of one row": world(1),
    "of one class": [i for i in world(200) if i.label == 1],
    "of constant features": [item([3, 3, 3, 3], n % 2) for n in range(100)],
    "of zeros": [item([0, 0, 0, 0], n % 2) for n in range(100)],
    "of nothing": [],
}
NETWORKS: dict[str, Any] = {"mlp": {"preset": "mlp", "hidden": [8]}, "batch_norm": {"layers": [{"type": "batch_norm"}]}}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("strategy", ["replay", "finetune"])
@pytest.mark.parametrize("batch", BATCHES)
def test_batches_of_any_kind_are_learned(batch: str, strategy: str, network: str) -> None:
    one = learner(network=NETWORKS[network], recipe={"strategy": strategy})
    outcomes = [*play(one, BATCHES[batch]), one.learn([], [], Plan(updates=1, publish=True))]
    assert not any(outcome.quarantined or outcome.rejected for outcome in outcomes)
    assert all(outcome.decision and outcome.decision.promoted for outcome in outcomes)
    assert bundle.are_finite(weights_of(one))


def test_single_rows_leave_a_batch_norm_that_still_answers() -> None:
    one = learner(network=NETWORKS["batch_norm"], recipe={"strategy": "finetune"} | FAST)
    play(one, world(300))
    play(one, world(60, 300), size=1)
    assert accuracy(one, world(300, 1000)) > 0.9


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_feature_of_any_unit_hides_no_other(scale: float) -> None:
    def unit(items: list[Item]) -> list[Item]:
        units = np.array([scale, 1, 1e6, 1], np.float32)
        return [item(row_of(i) * units, i.label) for i in items]

    one = learner(recipe=FAST)
    play(one, unit(world(400)))
    assert accuracy(one, unit(world(300, 1000))) > 0.9


def test_a_weight_counts_as_so_many_examples() -> None:
    one = learner(recipe={"strategy": "finetune", "gate": {"holdout": 0}})
    rows = [item([1, 1, 1, 1], n % 2, weight=9.0 if n % 2 else 1.0) for n in range(320)]
    play(one, rows, updates=8)
    with torch.no_grad():
        share = one.promotion.champion.eval().predict({"inputs": torch.ones(1, 4)})[0, 1]
    assert float(share) == pytest.approx(0.9, abs=0.05)


def test_a_recipe_is_merged_and_the_learner_follows_it() -> None:
    one = learner(recipe={"optimizer": {"name": "sgd", "momentum": 0.5, "learning_rate": 0.1}} | MANY)
    play(one, world(100))
    one.change_recipe({"optimizer": {"learning_rate": 0.2}, "memory": {"size": 10}, "gate": {"holdout_size": 8}})
    recipe = one.spec.recipe
    assert (recipe.optimizer.name, recipe.optimizer.momentum, recipe.optimizer.learning_rate) == ("sgd", 0.5, 0.2)
    assert one.course.state.optimizer.param_groups[0]["lr"] == 0.2
    assert (len(one.replay_buffer), len(one.promotion.holdout), recipe.gate.holdout) == (10, 8, 0.5)
    one.change_recipe({"optimizer": {"name": "adam"}, "detector": "none"})
    assert one.spec.recipe.optimizer.momentum is None, "another optimizer comes with parameters of its own"
    play(one, answered(world(50, 100), is_right=False))
    one.change_recipe({"detector": {"name": "adwin", "clock": 8}})
    play(one, answered(world(50, 150), is_right=False))
    assert_same(restored(one).state_dict(), one.state_dict())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"loss": "mse"}, ""),
        ({"optimizer": {"learning_rate": -1}}, "recipe.optimizer.learning_rate"),
        ({"no": 1}, "recipe.no"),
    ],
)
def test_a_recipe_that_does_not_fit_changes_nothing(changes: dict[str, Any], field: str) -> None:
    one = learner()
    before = copy.deepcopy(one.state_dict())
    with pytest.raises(InvalidInput) as refused:
        one.change_recipe(changes)
    assert refused.value.details["field"] == field
    assert_same(one.state_dict(), before)
    with pytest.raises(InvalidInput):
        check_retrain(Model(one.spec, one.classes, one.module), RetrainPlan.of(one.spec, changes), [])


def test_weights_trained_elsewhere_see_inputs_as_they_are() -> None:
    weights = {
        "network.linear1.weight": torch.eye(4),
        "network.linear1.bias": torch.zeros(4),
        "output.weight": torch.ones(2, 4),
        "output.bias": torch.tensor([0.0, 1.0]),
    }
    layers = {"layers": [{"type": "linear", "features": 4}]}
    one = Learner.create(spec(network=layers), seed=1, weights=weights)
    play(one, world(32), updates=0)
    rows = torch.tensor([[100.0, 200.0, 0.0, 0.5]])
    assert one.module({"inputs": rows}).tolist() == [[300.5, 301.5]]
    with pytest.raises(InvalidInput, match=r"output\.bias: it is missing"):
        Learner.create(
            spec(network=layers), seed=1, weights={name: weights[name] for name in weights if name != "output.bias"}
        )


def test_weights_of_a_version_bring_their_scale() -> None:
    one = learner()
    play(one, world(100))
    other = Learner.create(one.spec, seed=3, weights=weights_of(one))
    rows = examples_of(one, world(9, 200)).inputs
    with torch.no_grad():
        assert torch.equal(other.module.eval().predict(rows), one.served.eval().predict(rows))


def test_named_inputs_of_integers_and_floats_are_learned() -> None:
    inputs = {"user": {"shape": [], "dtype": "int64"}, "item": {"shape": [3]}}
    one = Learner.create(
        parse(ModelSpec, {"name": "m", "task": "classification", "inputs": inputs, "classes": [0, 1]}), seed=1
    )
    random = np.random.default_rng(0)
    users, rows = random.integers(0, 2, 300), random.normal(size=(300, 3)).astype(np.float32)
    items = [
        Item(f"i{n}", {"user": user.tobytes(), "item": row.tobytes()}, int(user))
        for n, (user, row) in enumerate(zip(users, rows, strict=True))
    ]
    play(one, items)
    assert accuracy(one, items) > 0.95
    assert_same(restored(one).state_dict(), one.state_dict())

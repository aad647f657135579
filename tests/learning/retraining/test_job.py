"""A retrain learns beside the stream, does not disturb it, and is gone on with if it is not worse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.examples import Examples
from driftline.learning.learner import Learner
from driftline.learning.retraining.job import RetrainJob
from driftline.networks.build import build
from driftline.records import Item, Plan, Route
from driftline.spec.network import layers_of
from tests.learning.conftest import (
    accuracy,
    answered,
    assert_same,
    examples_of,
    item,
    learner,
    play,
    restored,
    weights_of,
    world,
)

OFF = {"gate": {"mode": "off"}}
GELU = [{"type": "activation", "to": "gelu"}]
ADD = [{"type": "add_classes", "classes": ["x"]}]


def begun(learner: Learner, *arguments: Any) -> RetrainJob:
    """The job of a retrain that has just begun."""
    learner.retrain("job", *arguments)
    assert learner.retraining is not None
    return learner.retraining


def job(count: int = 100, epochs: int = 2) -> RetrainJob:
    """A job over so many examples, with 64 an update."""
    return begun(learner(recipe={"gate": {"holdout": 0}}), {}, [], epochs, world(count))


def weights(retraining: RetrainJob) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in retraining.course.module.state_dict().items()}


def differ(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, other[name]) for name, value in one.items())


def test_an_epoch_is_as_many_updates_as_its_examples_need() -> None:
    found = job(count=130, epochs=4)
    assert (found.halving.leader.batch_size, found.halving.left) == (64, 12)
    seen = []
    while not found.is_done:
        seen.append(found.progress)
        found.advance(5)
    assert seen == [0, 5 / 12, 10 / 12]
    assert (found.halving.done, found.progress) == (12, 1)
    before = weights(found)
    found.advance(5)
    assert not differ(before, weights(found)), "a job that is done makes no more updates"


def test_slices_of_any_size_come_to_the_same() -> None:
    one, other = job(epochs=6), job(epochs=6)
    one.advance(12)
    for updates in (1, 4, 2, 9):
        other.advance(updates)
    assert not differ(weights(one), weights(other))


def test_it_learns_its_examples() -> None:
    one = learner(recipe=OFF)
    begun(one, {"optimizer": {"learning_rate": 0.02}}, [], 20, world(300))
    one.finish(2)
    assert accuracy(one, world(300, 1000)) > 0.9


def test_a_job_without_examples_is_done_at_once() -> None:
    found = begun(learner(), {}, [], 5, [])
    assert found.is_done and found.progress == 1
    found.advance(3)
    assert found.halving.done == 0


def test_it_catches_up_with_what_was_learned_meanwhile() -> None:
    stream, one, other = learner(), job(), job()
    other.observe(examples_of(stream, world(100, 500)), [True] * 100)
    for each in (one, other):
        each.advance(each.halving.left)
    assert not differ(weights(one), weights(other))
    for each in (one, other):
        each.rejoin(stream.course, stream.replay_buffer.examples)
    assert differ(weights(one), weights(other))


def test_a_last_row_alone_is_caught_up_with_too() -> None:
    one = learner(network={"layers": [{"type": "batch_norm"}]}, recipe={"gate": {"holdout": 0}})
    begun(one, {}, [], 1, world(10))
    play(one, world(65, 100))
    assert one.finish(2).decision is not None


def test_of_what_arrives_the_newest_is_kept() -> None:
    found, one = job(), learner()
    rows = examples_of(one, world(1000))
    for n in range(25):
        found.observe(Examples(rows.inputs, torch.full((1000,), n), rows.weights), [True] * 1000)
    kept = found.learned_meanwhile.targets
    assert len(kept) == found.max_learned == 20_000
    assert (int(kept[0]), int(kept[-1])) == (5, 24)


def test_a_job_goes_on_from_its_state_bit_for_bit() -> None:
    one = learner(network={"layers": [{"type": "linear", "features": 8}, {"type": "dropout"}]}, recipe=OFF)
    play(one, world(100))
    begun(one, {}, [], 5, world(50)).advance(3)
    play(one, world(50, 100))
    other = restored(one)
    digests = []
    for each in (one, other):
        assert each.retraining is not None and each.retraining.halving.done == 3
        each.retraining.advance(2)
        each.finish(2)
        digests.append(each.digest())
    assert digests[0] == digests[1]
    assert_same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("edits", [[], GELU], ids=["as it is", "edited"])
def test_the_stream_learns_the_same_beside_a_job_as_without_one(edits: list[dict[str, Any]]) -> None:
    one, other = learner(), learner()
    play(one, world(100))
    play(other, world(100))
    found, kept = begun(one, {}, edits, 9, world(50)), len(one.replay_buffer)
    for start in range(100, 300, 50):
        found.advance(2)
        assert play(one, world(50, start)) == play(other, world(50, start))
    assert len(found.learned_meanwhile) == len(one.replay_buffer) - kept > 150, (
        "all that the stream has learned meanwhile"
    )
    one.cancel()
    assert_same(one.state_dict(), other.state_dict())


def test_a_job_that_is_promoted_is_gone_on_with() -> None:
    one = learner(recipe=OFF)
    play(one, world(100))
    begun(one, {"batch_size": 8}, GELU, 2, [])
    play(one, world(50, 100))
    decision = one.finish(2).decision
    assert decision is not None and decision.promoted and one.retraining is None
    layers = layers_of(one.spec.network)
    assert layers is not None and layers.layers[2].type == "gelu" and one.spec.recipe.batch_size == 8
    assert type(one.promotion.champion.network.relu1).__name__ == type(one.module.network.relu1).__name__ == "GELU"
    assert len(one.replay_buffer) > 100, "the replay buffer stays"
    play(one, world(50, 200))
    build(one.spec, one.classes_of(one.served), seed=0).load_state_dict(weights_of(one))


def test_a_job_with_many_edits_goes_on_from_its_state_and_is_promoted() -> None:
    one = learner(recipe=OFF)
    play(one, world(100))
    edits = [
        {"type": "widen", "layer": "linear1", "features": 12},
        {"type": "insert", "after": "relu1", "layer": {"type": "batch_norm"}},
        {"type": "concatenate", "branch": [{"type": "linear", "features": 3}, {"type": "relu"}]},
        {"type": "activation", "to": "gelu", "blend": 4},
        {"type": "reinitialise", "units": "dead"},
        {"type": "freeze", "layers": ["linear1"]},
        {"type": "adapter", "rank": 2, "layers": ["branch1.linear1"]},
    ]
    begun(one, {}, edits, 4, []).advance(2)
    other = restored(one)
    assert_same(one.state_dict(), other.state_dict())
    decisions = [each.finish(2).decision for each in (one, other)]
    assert decisions[0] == decisions[1] and decisions[0] is not None and decisions[0].promoted
    again = restored(other)
    for each in (one, other, again):
        play(each, world(50, 100))
    assert_same(one.state_dict(), other.state_dict())
    assert_same(one.state_dict(), again.state_dict())
    assert one.module.state_dict()["network.main.linear1.weight"].shape == (12, 4)
    assert one.module.state_dict()["network.main.relu1.count"] > 0


def test_a_job_that_is_worse_leaves_no_trace() -> None:
    one = learner(recipe={"strategy": "replay", "gate": {"holdout": 0.5}, "optimizer": {"learning_rate": 0.02}})
    play(one, world(400))
    before = one.state_dict()
    found = begun(one, {"optimizer": {"learning_rate": 0.02}}, GELU, 0, [])
    with torch.no_grad():
        found.course.module.output.get_parameter("weight").mul_(-1)
    decision = one.finish(2).decision
    assert decision is not None and not decision.promoted and decision.reason.startswith("worse")
    assert_same(one.state_dict(), before)


def test_a_greedy_soup_is_judged_on_what_is_held_out() -> None:
    one = learner(recipe={"strategy": "replay", "gate": {"holdout": 0.5}, "optimizer": {"learning_rate": 0.02}})
    play(one, world(40))
    soup = [{"type": "average", "versions": [1, 2], "soup": "greedy"}]
    good = weights_of(one)
    bad = {name: -value for name, value in good.items()}
    with pytest.raises(InvalidInput, match=r"edits\.0 \(average\): \d+ held-out labels are too few to judge by"):
        one.retrain("job", {}, soup, 1, [], {1: good, 2: bad})
    play(one, world(300, 40))
    better = weights_of(one)
    one.retrain("job", {}, soup, 1, [], {1: bad, 2: better})
    assert one.retraining is not None
    found = one.retraining.course.module.state_dict()
    assert torch.equal(found["output.weight"], better["output.weight"]), "the other would only harm"
    with pytest.raises(InvalidInput, match="the weights of version 2 are not known here"):
        one.retrain("job", {}, soup, 1, [], {1: bad})


@pytest.mark.parametrize(("route", "is_promoted"), [("live", False), ("pinned", True)])
def test_a_job_is_judged_on_the_live_labels_that_came_while_it_ran(route: Route, is_promoted: bool) -> None:
    one = learner(recipe={"strategy": "replay", "gate": {"holdout": 0}, "optimizer": {"learning_rate": 0.02}})
    play(one, world(300))
    found = begun(one, {"optimizer": {"name": "sgd", "learning_rate": 1e-9}}, [], 1, [])
    play(one, world(100, 300, route=route))
    with torch.no_grad():
        found.course.module.output.get_parameter("weight").mul_(-1)
    decision = one.finish(2).decision
    assert decision is not None and decision.promoted == is_promoted
    assert is_promoted or decision.reason.endswith("on 100 labels since the fork")


@pytest.mark.parametrize("edits", [[], ADD], ids=["as it is", "of one more class"])
def test_a_job_is_judged_with_what_is_served_beside_its_network(edits: list[dict[str, Any]]) -> None:
    one = learner(classes=["a", "b"], recipe={"strategy": "experts", "gate": {"holdout": 0}})
    play(one, world(300, names=["a", "b"]))
    one.promote(2)
    begun(one, {"optimizer": {"name": "sgd", "learning_rate": 1e-9, "weight_decay": 0}}, edits, 1, [])
    play(one, world(100, 300, ["a", "b"]))
    decision = one.finish(3).decision
    assert decision is not None
    job, champion = (decision.scores[f"labels since the fork_{name}"] for name in ("error", "other_error"))
    assert job == pytest.approx(champion, abs=0.02), "it has not moved"


@pytest.mark.parametrize(
    ("recipe", "edits", "field"),
    [
        ({"batch_size": 0}, [], "recipe.batch_size"),
        ({}, [GELU[0], {"type": "activation", "to": "tanh", "layer": "linear1"}], "edits.1"),
        ({}, [{"type": "nothing"}], "edits.0"),
        ({}, [GELU[0], {"type": "remove_classes", "classes": [7]}], "edits.1"),
        ({}, [{"type": "remove_classes", "classes": [0, 1]}], "edits.0"),
    ],
)
def test_what_does_not_fit_begins_no_job(recipe: dict[str, Any], edits: list[dict[str, Any]], field: str) -> None:
    one = learner()
    before = one.state_dict()
    with pytest.raises(InvalidInput) as refused:
        one.retrain("job", recipe, edits, 1, [])
    assert refused.value.details["field"] == field
    assert_same(one.state_dict(), before)
    with pytest.raises(InvalidInput, match="no retrain job"):
        one.finish(2)


def test_no_example_is_held_out_or_unfit() -> None:
    one = learner(recipe={"gate": {"holdout": 0.5}})
    play(one, world(100))
    unfit = [Item("short", {"inputs": b""}, 1), item([0, 0, 0, 0], "no class")]
    found = begun(one, {}, [], 1, [*world(200), *unfit])
    held = {tuple(row) for row in one.promotion.holdout.examples.inputs["inputs"].tolist()}
    used = {tuple(row) for row in found.examples.inputs["inputs"].tolist()}
    assert held and not held & used
    assert len(used) == 200 - sum(one.promotion.is_held_out(i) for i in world(200)[60:]), (
        "of the first labels none is held out"
    )


def test_classes_that_arrive_meanwhile_are_learned_by_the_job_too() -> None:
    one = learner(classes="open", recipe=OFF)
    play(one, world(100, names=["a", "b"]))
    begun(one, {}, GELU, 2, [])
    play(one, world(100, 100, ["a", "b", "c", 4]))
    assert one.finish(2).decision is not None
    assert set(one.classes_of(one.served)) == {"a", "b", "c", 4} and one.classes == one.classes_of(one.served)
    play(one, world(100, 200, ["a", "b", "c", 4, "e"]))
    assert_same(restored(one).state_dict(), one.state_dict())


def test_classes_that_arrive_meanwhile_come_after_the_updates_of_a_job_that_is_repeated_too() -> None:
    one = learner(classes="open", recipe=OFF)
    play(one, world(100, names=["a", "b"]))
    found = begun(one, {}, [], 2, [])
    other = restored(one)
    found.advance(found.halving.left)
    for each in (one, other):
        play(each, world(100, 100, ["a", "b", "c"]))
        each.finish(2)
    assert one.digest() == other.digest()


def test_classes_that_a_job_adds_are_learned_from_then_on() -> None:
    one = learner(classes=["a", "b"], recipe=OFF)
    play(one, world(100, names=["a", "b"]))
    begun(one, {}, ADD, 1, [])
    assert one.learn([item([0, 0, 0, 0], "x")], [1], Plan(updates=1)).rejected.keys() == {1}
    one.finish(2)
    assert one.classes == one.classes_of(one.served) == one.spec.classes == ["a", "b", "x"]
    assert not one.learn([item([0, 0, 0, 0], "x")], [2], Plan(updates=1)).rejected


def test_classes_that_a_job_adds_and_others_that_arrive_meanwhile_are_told_apart_by_name() -> None:
    one = learner(classes="open", recipe=OFF)
    play(one, world(100, names=["a", "b"]))
    arriving = world(90, 100, ["a", "b", "c"])
    begun(one, {}, ADD, 1, [])
    play(one, arriving)
    assert one.classes[2:] == ["c"]
    held = one.promotion.holdout.current().targets.tolist() + one.replay_buffer.examples.targets.tolist()
    one.finish(2)
    assert one.classes == one.classes_of(one.served) and one.classes[2:] == ["x", "c"]
    moved = one.promotion.holdout.current().targets.tolist() + one.replay_buffer.examples.targets.tolist()
    assert sorted(moved) == sorted(3 if target == 2 else target for target in held) and 3 in moved
    assert_same(restored(one).state_dict(), one.state_dict())


@pytest.mark.parametrize(
    "recipe",
    [{"detector": "adwin"}, {"memory": {"size": 20}}, {"gate": {"holdout_size": 10}}, {"optimizer": {"name": "sgd"}}],
)
def test_a_recipe_that_comes_with_a_job_is_followed(recipe: dict[str, Any]) -> None:
    one = learner(recipe={"detector": "none", "gate": {"mode": "off", "holdout": 0.5}})
    play(one, answered(world(200), is_right=True))
    begun(one, recipe, [], 1, [])
    one.finish(2)
    other = restored(one)
    for each in (one, other):
        play(each, answered(world(200, 200), is_right=False))
    assert_same(one.state_dict(), other.state_dict())
    assert (
        len(one.replay_buffer) <= one.spec.recipe.memory.size
        and len(one.promotion.holdout) <= one.spec.recipe.gate.holdout_size
    )


def test_a_recipe_that_changes_while_a_job_runs_stays_changed() -> None:
    one = learner(recipe=OFF)
    play(one, world(100))
    begun(one, {"batch_size": 8}, [], 1, [])
    one.change_recipe({"optimizer": {"learning_rate": 0.5}, "memory": {"size": 30}})
    one.finish(2)
    assert (one.spec.recipe.batch_size, one.spec.recipe.memory.size) == (8, 30)
    assert one.course.state.optimizer.param_groups[0]["lr"] == one.spec.recipe.optimizer.learning_rate == 0.5

"""Decisions that are corrected by how common classes are, where the recipe decides ``balanced``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from driftline.backtest.replay import backtest, play
from driftline.backtest.stream import Stream
from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import class_shares
from driftline.networks.running_prior import FADE, RunningPrior, decisions
from driftline.records import Plan
from driftline.rows.rows import Rows
from tests.learning.conftest import answered, learner, restored, spec, weights_of, world
from tests.learning.conftest import play as taught

BALANCED = {"strategy": "replay", "decide": "balanced"}


def rare(rows: int = 1500, share: float = 0.03) -> Stream:
    """Two classes of which one is rare, and not to be told from the other with certainty."""
    random = np.random.default_rng(5)
    labels = (random.random(rows) < share).astype(int)
    inputs = random.normal(size=(rows, 4)).astype(np.float32)
    inputs[:, :2] += 1.5 * labels[:, None]
    return Stream(spec(), Rows({"inputs": inputs}), labels.tolist())


def test_a_rare_class_is_found_and_probabilities_stay_what_they_are() -> None:
    recipes = {name: {"strategy": "replay", "decide": name} for name in ("accuracy", "balanced")}
    report = backtest(rare(), recipes, delay=32)
    assert report["balanced_accuracy"]["balanced"] > report["balanced_accuracy"]["accuracy"] + 0.15
    for measure in ("auc", "average_precision", "log_loss", "brier"):
        assert report[measure]["balanced"] == pytest.approx(report[measure]["accuracy"], rel=0.1)


def test_what_is_answered_is_the_most_probable_class_beside_how_common_it_is() -> None:
    prior = RunningPrior(3)
    assert prior.factors.tolist() == [1, 1, 1]
    chances = torch.tensor([[0.7, 0.2, 0.1]]).repeat(400, 1)
    prior.observe(chances, torch.zeros(400, dtype=torch.int64), torch.ones(400))
    factors = prior.factors.numpy()
    # Of the labels all were of the first class: it is more common than its probabilities say.
    assert factors[0] == pytest.approx(1 / 3, rel=0.01) and factors[2] > factors[1] > factors[0]
    outputs = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])
    assert decisions(outputs, factors).tolist() == (outputs * factors).argmax(1).tolist()
    assert decisions(outputs, None).tolist() == [0, 0, 0]


def test_rows_at_once_are_taken_in_as_one_after_the_other() -> None:
    chances = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    places, weights = torch.arange(50) % 3, torch.arange(50).remainder(4).float()
    whole, each = RunningPrior(3), RunningPrior(3)
    whole.observe(chances, places, weights)
    for row in range(50):
        each.observe(chances[row : row + 1], places[row : row + 1], weights[row : row + 1])
    assert torch.allclose(whole.factors, each.factors)
    assert float(each.count) == pytest.approx(
        float(sum(weights * FADE ** (weights.sum() - weights.cumsum(0)))), rel=1e-4
    )


def test_a_prior_follows_classes_that_come_go_and_change_places() -> None:
    prior = RunningPrior(2)
    prior.observe(torch.tensor([[0.9, 0.1]]), torch.tensor([0]), torch.ones(1))
    prior.add_classes(1)
    assert prior.chances.tolist() == pytest.approx([0.9, 0.1, 0])
    found = prior.reclassed([None, 1, 0])
    assert found.chances.tolist() == pytest.approx([0, 0.1, 0.9]) and found.labels.tolist() == [0, 0, 1]
    prior.keep_classes([1])
    assert prior.chances.tolist() == pytest.approx([0.1])


def test_what_is_served_by_a_champion_decides_by_the_newest_labels() -> None:
    one = learner(recipe=BALANCED, classes="open")
    taught(one, answered(world(150, names=(0, 1)), is_right=True, outputs=np.array([0.8, 0.2], np.float32).tobytes()))
    taught(one, world(60, 150, names=(0, 1, 2)))
    prior, champion = one.module.prior, one.promotion.champion
    assert prior is not None and champion.prior is not None and float(prior.count) > 200 * FADE**210
    assert torch.equal(champion.prior.factors, prior.factors)


def test_it_goes_on_from_its_state_as_from_itself() -> None:
    one = learner(recipe=BALANCED)
    taught(one, world(100))
    other = restored(one)
    for each in (one, other):
        taught(each, world(50, 100))
    assert one.digest() == other.digest() and one.metrics() == other.metrics()


def test_a_recipe_that_decides_otherwise_is_followed_at_once_and_back() -> None:
    one = learner(recipe={"strategy": "replay"})
    taught(one, world(60))
    one.change_recipe({"decide": "balanced"})
    assert one.module.prior is not None and one.promotion.champion.prior is not None
    taught(one, world(60, 60))
    assert restored(one).digest() == one.digest()
    one.change_recipe({"decide": "accuracy"})
    assert one.module.prior is None and one.promotion.champion.prior is None


def test_a_rollback_takes_weights_of_either_decision() -> None:
    one = learner(recipe={"strategy": "replay"})
    plain = weights_of(one)
    one.change_recipe({"decide": "balanced"})
    taught(one, world(60))
    before = one.module.prior.labels.clone()  # type: ignore[union-attr]
    corrected = weights_of(one)
    one.rollback(one.spec, [0, 1], plain, 5)
    assert torch.equal(one.module.prior.labels, before)  # type: ignore[union-attr]
    one.change_recipe({"decide": "accuracy"})
    one.rollback(one.spec, [0, 1], corrected, 6)
    assert one.module.prior is None


def test_a_retrain_may_decide_otherwise() -> None:
    one = learner(recipe={"strategy": "replay"})
    taught(one, world(60))
    one.retrain("j", {"decide": "balanced"}, [], 1, [])
    taught(one, world(60, 60))
    assert one.finish(9, is_promoted=True).decision.promoted  # type: ignore[union-attr]
    assert one.module.prior is not None
    taught(one, world(60, 120))
    assert float(one.module.prior.count) > 50


def test_the_newest_labels_are_compared_so_that_every_class_counts_alike() -> None:
    shares = class_shares(torch.tensor([0, 0, 0, 1]))
    assert shares.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert not len(class_shares(torch.zeros(0, dtype=torch.int64)))


def test_the_calibration_is_that_of_what_was_answered() -> None:
    one = Learner.create(spec(recipe=BALANCED), seed=7)
    items = answered(world(100), is_right=False, outputs=np.array([0.9, 0.1], np.float32).tobytes())
    one.learn(items, range(1, 101), Plan(1, publish=False))
    scores, wrong = one.metrics()["prequential"], [int(each.answer.label) for each in items]  # type: ignore[union-attr, arg-type]
    told = np.where(np.array(wrong) == 0, 0.9, 0.1)
    assert scores["calibration_error"] == pytest.approx(told.mean(), abs=1e-6)


def test_a_backtest_gives_the_answers_that_would_be_served() -> None:
    stream = rare(400)
    played = play(stream, spec(recipe=BALANCED), 0, 0)
    assert played.probabilities is not None
    assert (np.array(played.answers) != played.probabilities.argmax(1)).any()


@pytest.mark.parametrize(
    "changes",
    [{"task": "regression", "classes": None}, {"task": "multilabel"}],
)
def test_only_a_classification_decides(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match='"decide": "balanced" is for classification'):
        spec(**changes, recipe={"decide": "balanced"})

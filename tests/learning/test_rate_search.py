"""A retrain that finds its learning rate: the same race, whatever interrupts it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.rate_search import HIGHEST_RATE
from driftline.learning.retraining import Retraining
from driftline.learning.search_budget import FACTORS, search_updates
from tests.learning.conftest import assert_same, learner, play, through_files, world

FIND = {"optimizer": {"learning_rate": "find"}}
DROPOUT = {"layers": [{"type": "linear", "features": 8}, {"type": "relu"}, {"type": "dropout", "share": 0.3}]}


def begun(recipe: dict[str, Any] | None = None, count: int = 300, rate: float = 0.003) -> tuple[Learner, Retraining]:
    one = learner(
        network=DROPOUT, recipe={"strategy": "replay", "gate": {"mode": "off"}, "optimizer": {"learning_rate": rate}}
    )
    play(one, world(60))
    one.retrain("job", recipe or FIND, [], 2, world(count, 1000))
    assert one.retraining is not None
    return one, one.retraining


def test_the_rate_with_the_lowest_loss_is_gone_on_with() -> None:
    one, job = begun(rate=0.0002)
    one.finish(2)
    table = job.report()["rates"]
    assert len(table) == len(FACTORS)
    best = min(table, key=lambda row: row["loss"])["learning_rate"]
    assert one.spec.recipe.optimizer.learning_rate == best > 0.0002
    assert one.trainee.optimizer.param_groups[0]["lr"] == best


def test_each_rate_has_the_same_budget_from_the_same_start() -> None:
    _, job = begun()
    assert job.search is not None
    start = {name: value.clone() for name, value in job.search.start.items() if name.startswith("module.")}
    seen = []
    for _ in FACTORS:
        now = {f"module.{name}": value for name, value in job.trainee.module.state_dict().items()}
        assert all(torch.equal(value, start[name]) for name, value in now.items())
        assert torch.equal(job.trainee.chance, job.search.start["chance"])
        seen.append(job.trainee.spec.recipe.optimizer.learning_rate)
        job.advance(job.search.updates)
    assert job.search.total == search_updates(len(job.examples), job.batch_size)
    assert seen == job.search.rates and job.search.is_done
    assert job.trainee.labels == 0 and not job.trainee.optimizer.state, "and so has the training that follows"


def test_what_judges_is_not_trained_on() -> None:
    _, job = begun()
    assert job.search is not None
    held = {tuple(row) for row in job.search.held.inputs["inputs"].tolist()}
    trained = {tuple(row) for row in job.search.trained.inputs["inputs"].tolist()}
    assert not held & trained and len(held) + len(trained) == len(job.examples)


@pytest.mark.parametrize("cut", [1, 13, 40, 75])
def test_it_goes_on_from_its_state_bit_for_bit(cut: int) -> None:
    one, job = begun()
    job.advance(cut)
    other = Learner.from_state(through_files(one.state_dict()))
    assert_same(one.state_dict(), other.state_dict())
    for each in (one, other):
        assert each.retraining is not None
        for updates in (3, 60, 7):
            each.retraining.advance(updates)
    assert_same(one.state_dict(), other.state_dict())
    reports = [each.retraining.report() for each in (one, other) if each.retraining is not None]
    assert reports[0] == reports[1]
    for each in (one, other):
        each.finish(2)
    assert_same(one.state_dict(), other.state_dict())


def test_slices_of_any_size_come_to_the_same() -> None:
    (one, job), (other, slow) = begun(), begun()
    job.advance(job.total)
    while not slow.is_done:
        slow.advance(3)
    assert job.progress == slow.progress == 1
    one.finish(2)
    other.finish(2)
    assert one.digest() == other.digest()


def test_a_rate_at_which_training_breaks_down_does_not_win() -> None:
    _, job = begun(rate=50)
    assert job.search is not None and max(job.search.rates) == HIGHEST_RATE
    job.search.losses = [math.inf, 0.4, 0.5]
    assert job.search.best == job.search.rates[1]
    assert [row["loss"] for row in job.search.table()] == [None, 0.4, 0.5]
    with torch.no_grad():
        job.trainee.module.output.weight.fill_(math.nan)  # type: ignore[operator, union-attr]
    assert job.search._loss() == math.inf


def test_with_too_few_examples_the_rate_stays() -> None:
    one = learner(recipe={"gate": {"mode": "off", "holdout": 0}})
    one.retrain("job", FIND, [], 2, world(10))
    assert one.retraining is not None and one.retraining.search is None and one.retraining.report() == {}
    one.finish(2)
    assert one.spec.recipe.optimizer.learning_rate == 0.003


def test_the_stream_itself_has_no_rate_to_find() -> None:
    with pytest.raises(InvalidInput, match=r"recipe\.optimizer\.learning_rate: .*not 'find'"):
        learner().change_recipe(FIND)

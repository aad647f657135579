"""A member that gives no numbers is left out and begins again; the mixture goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from driftline.learning.learner import Learner
from driftline.networks.experts.mixture import FLOOR, Mixture
from tests.learning.conftest import learner, play, restored, values, weights_of, world

EXPERTS = {"strategy": "experts"}


CLASSES = {
    "small networks": lambda learner: learner.mixture.bank.output[2].fill_(torch.nan),
    "boosted trees": lambda learner: learner.mixture.trees.values[0].fill_(torch.inf),
    "linear regressions": lambda learner: learner.mixture.ridge.heads[0].fill_(torch.nan),
    "weights": lambda learner: learner.mixture.weights[1].fill_(torch.nan),
}
VALUES = {
    "small networks": lambda learner: learner.mixture.bank.hidden[1].fill_(torch.nan),
    "boosted trees": lambda learner: learner.mixture.trees.base.fill_(torch.nan),
    "regressions on encoded rows": lambda learner: learner.mixture.encoded.heads.fill_(torch.nan),
    "linear regressions": lambda learner: learner.linear.gram.fill_(torch.nan),
    "autoregressions": lambda learner: learner.mixture.autoregressive.heads.fill_(torch.nan),
    "weights": lambda learner: learner.mixture.weights[0, 1].fill_(torch.nan),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_member_of_a_classification_begins_again_and_is_named(name: str) -> None:
    one = learner(recipe=EXPERTS)
    play(one, world(100))
    break_and_go_on(one, name, CLASSES[name], lambda first: world(40, first))


@pytest.mark.parametrize("name", VALUES)
def test_a_member_of_a_regression_begins_again_and_is_named(name: str) -> None:
    one = learner(task="regression", classes=None, recipe=EXPERTS)
    play(one, values(100))
    break_and_go_on(one, name, VALUES[name], lambda first: values(40, first))


def break_and_go_on(one: Learner, name: str, break_it: Callable, more: Callable) -> None:  # type: ignore[type-arg]
    before = weights_of(one)
    assert "set_aside" not in one.metrics()
    break_it(one.course.strategy.mixture)  # type: ignore[attr-defined]
    results = play(one, more(100), size=40)
    assert results[0].decision is not None and not results[0].decision.promoted
    assert name in one.metrics()["set_aside"]
    # The first comparisons are still about what was answered without numbers.
    results = [result for first in range(140, 340, 40) for result in play(one, more(first), size=40)]
    assert any(result.decision is not None and result.decision.promoted for result in results)
    assert one.served.is_finite() and one.module.is_finite() and set(weights_of(one)) == set(before)
    assert restored(one).metrics() == one.metrics() and restored(one).digest() == one.digest()


def test_what_a_member_does_not_know_spoils_no_answer() -> None:
    mixture = Mixture(3, 2, seed=0)
    mixture.see(range(2))
    mixture.bank.output[0] = torch.nan
    mixture.ridge.heads[1, :, 0] = torch.inf
    mixture.bank.is_trained.fill_(1)
    answers, trace = mixture(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    assert answers.isfinite().all() and trace.isfinite().all() and (trace >= FLOOR).all()

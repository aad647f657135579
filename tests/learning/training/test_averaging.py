"""Means of weights: what is served, beside what is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from driftline.learning.learner import Learner
from driftline.records import Plan
from driftline.spec.parts.averaging import AVERAGINGS
from tests.learning.conftest import item, learner, play, weights_of, world

EMA = {"name": "ema", "decay": 0.5}
NORMED = {"layers": [{"type": "linear", "features": 4}, {"type": "batch_norm"}, {"type": "relu"}]}
EVERY_AVERAGING = pytest.mark.parametrize("averaging", AVERAGINGS.parts)


def made(averaging: str | dict[str, Any], **changes: Any) -> Learner:
    recipe = {"strategy": "replay", "averaging": averaging, "gate": {"mode": "off", "holdout": 0}}
    return learner(recipe=recipe, **changes)


def traced(one: Learner, count: int, size: int = 16) -> list[dict[str, Tensor]]:
    """The tensors of the module after each update of so many steps."""
    found = []
    for n in range(count):
        play(one, world(size, n * size), size=size, updates=1)
        found.append({name: value.clone() for name, value in one.module.state_dict().items()})
    return found


def test_an_exponential_mean_is_served_with_its_statistics() -> None:
    one = made(EMA, network=NORMED)
    expected = {name: value.clone() for name, value in one.module.state_dict().items()}
    for update, now in enumerate(traced(one, 12)):
        kept = min(0.5, (1 + update) / (10 + update))
        expected = {name: kept * expected[name] + (1 - kept) * now[name] for name in now}
    served = weights_of(one)
    for name in ("network.linear1.weight", "network.batch_norm1.running_var", "output.bias"):
        assert torch.allclose(served[name], expected[name], atol=1e-6) and not torch.equal(served[name], now[name])
    assert torch.equal(served["scale.inputs.mean"], now["scale.inputs.mean"]), "the inputs are scaled as they now are"
    assert torch.equal(
        served["network.batch_norm1.num_batches_tracked"], now["network.batch_norm1.num_batches_tracked"]
    )


def test_a_stochastic_mean_is_of_the_weights_at_every_so_many_labels() -> None:
    one = made({"name": "swa", "every": 32, "most": 100})
    seen = traced(one, 9)
    expected = torch.stack([seen[n]["output.weight"] for n in (0, 2, 4, 6, 8)]).mean(0)
    assert torch.allclose(weights_of(one)["output.weight"], expected, atol=1e-6)


def test_the_oldest_of_a_stochastic_mean_fade() -> None:
    one = made({"name": "swa", "every": 1, "most": 1})
    seen = traced(one, 3)
    assert torch.allclose(weights_of(one)["output.weight"], seen[-1]["output.weight"])


@EVERY_AVERAGING
def test_training_goes_on_from_the_weights_themselves(averaging: str) -> None:
    one, other = made(averaging), learner(recipe={"strategy": "replay", "gate": {"mode": "off", "holdout": 0}})
    for each in (one, other):
        play(each, world(200))
    assert one.digest() == other.digest()
    assert not torch.equal(weights_of(one)["output.weight"], weights_of(other)["output.weight"])


@EVERY_AVERAGING
def test_the_gate_judges_the_mean(averaging: str) -> None:
    one = made(averaging)
    play(one, world(224), size=32)
    assert all(torch.equal(value, one.promotion.champion.state_dict()[name]) for name, value in weights_of(one).items())
    with torch.no_grad():
        assert one.course.averaging is not None
        one.course.averaging.average["output.weight"].fill_(float("nan"))
    decision = one.learn([], [], Plan(publish=True)).decision
    assert decision is not None and decision.reason == "its weights are not finite"


@EVERY_AVERAGING
def test_after_an_alarm_it_begins_anew(averaging: str) -> None:
    one = made(averaging)
    play(one, world(200))
    one.course.on_drift(one.replay_buffer, 0)
    assert torch.equal(one.course.candidate().output.get_parameter("weight"), one.module.output.get_parameter("weight"))


@EVERY_AVERAGING
def test_it_goes_on_where_a_class_is_added(averaging: str) -> None:
    one = made(averaging, classes="open")
    play(one, world(200, names=["a", "b"]))
    before = weights_of(one)["output.weight"]
    one.learn([item([1, 2, 3, 4], "c")], [201], Plan())
    served = one.course.candidate().output.get_parameter("weight")
    assert torch.equal(served[:2], before)
    assert torch.equal(served[2], one.module.output.get_parameter("weight")[2])


@EVERY_AVERAGING
def test_a_rollback_begins_it_anew(averaging: str) -> None:
    one = made(averaging)
    play(one, world(100))
    old = weights_of(one)
    play(one, world(200, 100))
    one.rollback(one.spec, one.classes, old, 9)
    for weights in (weights_of(one), dict(one.module.state_dict()), dict(one.course.candidate().state_dict())):
        assert all(torch.equal(value, old[name]) for name, value in weights.items())


@EVERY_AVERAGING
def test_a_job_is_judged_and_gone_on_with_by_its_mean(averaging: str) -> None:
    one = made("ema")
    play(one, world(100))
    one.retrain("job", {"averaging": averaging}, [{"type": "activation", "to": "gelu"}], 3, [])
    one.finish(2)
    assert all(torch.equal(value, one.promotion.champion.state_dict()[name]) for name, value in weights_of(one).items())
    assert not torch.equal(weights_of(one)["output.weight"], one.module.output.get_parameter("weight"))

"""What every course keeps, whichever parts it is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from driftline.learning.learner import Learner
from driftline.learning.stateful import undeclared
from driftline.learning.training.strategies.experts import ExpertsRuntime
from driftline.networks.model import Model
from driftline.spec.parts.schedules import SCHEDULES
from driftline.spec.parts.strategies import STRATEGIES
from tests.learning.conftest import learner, play, spec, world

EVERYTHING: dict[str, Any] = {
    "averaging": "ema",
    "l2_sp": {"version": 1},
    "max_norm": {},
    "refresh": {"every": 1},
    "shrink_and_perturb": {},
    "sanitize": "repair",
}
EVERY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES.parts)


def made(strategy: str, **recipe: Any) -> Learner:
    one = learner(recipe={"strategy": strategy, **EVERYTHING, **recipe})
    one.course.weight_hooks.remember({1: dict(one.module.state_dict())})
    play(one, world(64))
    return one


@EVERY_STRATEGY
@pytest.mark.parametrize("schedule", SCHEDULES.parts)
def test_a_course_goes_on_from_its_state(strategy: str, schedule: str) -> None:
    one = made(strategy, optimizer={"schedule": schedule})
    other = learner(recipe=one.spec.recipe.model_dump(mode="json"))
    state = one.state_dict().below("course")
    other.course.load_state_dict(state)
    for each in (one.course, other.course):
        each.on_error(1.0)
        each.before_step(one.replay_buffer.examples)
        with each.state.drawing():
            assert each.update(one.replay_buffer.examples, one.replay_buffer) is None
        each.after_step(one.replay_buffer.examples)
    ours, theirs = one.course.state_dict(), other.course.state_dict()
    assert ours.data == theirs.data and ours.tensors.keys() == theirs.tensors.keys()
    assert not [name for name, value in ours.tensors.items() if not torch.equal(value, theirs.tensors[name])]


def test_experts_that_rows_are_too_wide_for_leave_the_network_alone() -> None:
    wide = spec(inputs={"shape": [5000]}, recipe={"strategy": "experts"})
    from_state = learner(inputs={"shape": [5000]}, recipe={"strategy": "experts"})
    assert wide.strategy.serves_experts and from_state.module.experts is None
    strategy = from_state.course.strategy
    assert isinstance(strategy, ExpertsRuntime) and not strategy.is_waiting and not undeclared(strategy)
    from_state.course.load_state_dict(from_state.state_dict().below("course"))


def test_a_schedule_of_the_recipe_that_a_rollback_brings_back_begins_anew() -> None:
    one = learner(recipe={"optimizer": {"schedule": {"name": "plateau", "labels": 10}}, "gate": {"holdout": 0}})
    former = one.spec
    one.change_recipe({"optimizer": {"schedule": {"name": "warmup", "labels": 100}}})
    play(one, world(50))
    one.course.restart(Model(former, one.classes, one.module))
    assert one.course.schedule.parameters == former.recipe.optimizer.schedule and one.course.learning_rate > 0

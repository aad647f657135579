"""Every schedule is a function of labels, errors and alarms, and each does what it is there for."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from driftline.learning.stateful import State, undeclared
from driftline.learning.training.schedules import ScheduleRuntime, schedule_runtime
from driftline.spec.parts.schedules import SCHEDULES
from tests.learning.conftest import answered, learner, play, world

EVERY_SCHEDULE = pytest.mark.parametrize("name", SCHEDULES.parts)


def begun(given: Any, labels: int = 0) -> ScheduleRuntime[Any]:
    return schedule_runtime(SCHEDULES.parse(given), labels)


def factors(schedule: ScheduleRuntime[Any], labels: list[int]) -> list[float]:
    return [schedule.factor(n) for n in labels]


def alarm(schedule: ScheduleRuntime[Any], labels: int) -> None:
    """A drift alarm after so many labels."""
    one = learner()
    one.course.state.labels = labels
    schedule.on_drift(one.course.step, one.replay_buffer, 0)


@EVERY_SCHEDULE
def test_it_never_stops_learning(name: str) -> None:
    schedule = begun(name)
    for n in range(20_000):
        schedule.on_error(float(n % 2))
        if n % 7000 == 0:
            alarm(schedule, n)
        assert 0 < schedule.factor(n) <= 1


@EVERY_SCHEDULE
def test_it_goes_on_from_its_state_as_json(name: str) -> None:
    one, other = begun(name, 50), begun(name)
    for n in range(3100):
        one.on_error(1 / (n + 1))
    other.load_state_dict(State({}, json.loads(json.dumps(one.state_dict().data, allow_nan=False))))
    assert not undeclared(one) and not one.state_dict().tensors
    for each in (one, other):
        for _ in range(2000):
            each.on_error(1.0)
    assert factors(one, [60, 700, 5000]) == factors(other, [60, 700, 5000])


def test_a_warm_restart_falls_along_a_cosine_and_begins_anew_at_an_alarm() -> None:
    schedule = begun({"name": "warm_restart", "labels": 100, "floor": 0.2})
    expected = [1.0, 0.2 + 0.4 * (1 + math.cos(math.pi / 4)), 0.6, 0.2, 0.2]
    assert factors(schedule, [0, 25, 50, 100, 5000]) == pytest.approx(expected)
    alarm(schedule, 5000)
    assert factors(schedule, [5000, 5050, 5200]) == pytest.approx([1.0, 0.6, 0.2])


def test_warmup_rises_evenly_from_where_it_began() -> None:
    schedule = begun({"name": "warmup", "labels": 100}, 1000)
    assert factors(schedule, [1001, 1050, 1100, 9999]) == pytest.approx([0.01, 0.5, 1, 1])


def test_a_plateau_halves_the_rate_and_an_alarm_brings_it_back() -> None:
    schedule, found = begun({"name": "plateau", "labels": 10, "floor": 0.2}), []
    for error in (0.9, 0.5, 0.5, 0.4, 0.6, 0.6, 0.6):
        for _ in range(10):
            schedule.on_error(error)
        found.append(schedule.factor(0))
    assert found == [1, 1, 0.5, 0.5, 0.25, 0.2, 0.2]
    alarm(schedule, 70)
    assert schedule.factor(70) == 1


def rate(recipe: dict[str, Any], steps: list[list[Any]]) -> list[float]:
    one = learner(recipe={"optimizer": {"learning_rate": 0.1, "schedule": recipe}})
    found = []
    for items in steps:
        play(one, items, size=len(items))
        found.append(one.course.state.optimizer.param_groups[0]["lr"])
        assert one.metrics()["learning_rate"] == found[-1]
    return found


def test_a_stream_moves_its_schedule() -> None:
    held = {"name": "warmup", "labels": 100}
    assert rate(held, [world(50), world(50, 50), world(50, 100)])[-1] == pytest.approx(0.1)
    assert 0.04 < rate(held, [world(50)])[0] <= 0.05, "labels that are held out are not learned"
    wrong = [answered(world(40, 40 * n), is_right=False) for n in range(3)]
    assert rate({"name": "plateau", "labels": 40}, wrong) == pytest.approx([0.1, 0.05, 0.025])


def test_a_job_begins_a_schedule_of_its_own() -> None:
    one = learner(recipe={"gate": {"holdout": 0}})
    play(one, world(200))
    one.retrain("job", {"optimizer": {"learning_rate": 0.1, "schedule": {"name": "warmup", "labels": 640}}}, [], 9, [])
    assert one.retraining is not None
    one.retraining.advance(1)
    assert one.retraining.course.state.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    one.retraining.advance(20)
    assert one.retraining.course.state.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)

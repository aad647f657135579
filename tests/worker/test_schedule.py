"""When the next step, candidate and checkpoint are due."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

import pytest

from driftline.store.log import LogEntry
from tests.worker.conftest import labelled
from worker.schedule import StepSchedule

Pass = Callable[[float], None]


@pytest.fixture
def elapse(monkeypatch: pytest.MonkeyPatch) -> Pass:
    """Lets the clock stand still, but for so many seconds."""
    now = 100.0

    def elapse(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return elapse


def entry(n: int, at: float) -> LogEntry:
    return LogEntry(n, at, labelled(1)[0])


def test_a_label_waits_from_when_it_was_logged_and_no_longer_where_the_clock_is_set_back(elapse: Pass) -> None:
    schedule = StepSchedule(60)
    assert not schedule.is_waiting and schedule.until_step(2) == math.inf
    schedule.look([entry(5, at=1000.0), entry(6, at=1001.0)], now=1001.5)
    assert schedule.is_waiting and schedule.until_step(2) == 0.5
    elapse(0.5)
    schedule.look([entry(5, at=1000.0)], now=900.0)
    assert schedule.until_step(2) == 0
    schedule.look([entry(6, at=1001.0)], now=900.0)
    assert schedule.until_step(2) == 2, "a label of the future has waited for no time"


def test_a_refused_candidate_is_tried_again_ever_less_often(elapse: Pass) -> None:
    schedule, waits = StepSchedule(60), []
    for _ in range(8):
        schedule.refused(1.0)
        waits.append(schedule.until_candidate)
        elapse(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60] and schedule.was_refused
    schedule.published(1.0)
    assert not schedule.was_refused and schedule.until_candidate == pytest.approx(4), (
        "a tenth of the time is for publishing, and of five more seconds while nothing was published"
    )


def test_labels_that_come_now_and_then_are_published_at_once_within_a_tenth_of_the_time(elapse: Pass) -> None:
    schedule, rng, begun = StepSchedule(60), random.Random(1), time.monotonic()
    runs = list[tuple[float, float]]()
    for n in range(400):
        # Now one after another, now far apart.
        elapse(rng.expovariate(20) if n // 50 % 2 else 1.0)
        if schedule.until_candidate > 0:
            assert n // 50 % 2 or n % 50 < 5, "what comes far apart waits for no turn"
            elapse(schedule.until_candidate)
        took = rng.uniform(0.01, 0.09)
        elapse(took)
        schedule.published(took)
        runs.append((time.monotonic(), took))
    for first, (since, took) in enumerate([(begun, 0.0), *runs]):
        spent = 0.0
        for at, seconds in runs[first:]:
            spent += seconds
            assert spent <= (at - (since - took) + 5) / 10 + 0.09


def test_checkpoints_take_a_tenth_of_the_time_at_most(elapse: Pass) -> None:
    schedule = StepSchedule(60)
    elapse(60)
    assert schedule.until_checkpoint == 0
    schedule.checkpointed(1.0)
    assert schedule.until_checkpoint == 60
    elapse(70)
    schedule.checkpointed(10.0)
    assert schedule.until_checkpoint == pytest.approx(90)


def test_while_more_labels_wait_a_candidate_is_due_every_second_within_a_tenth_of_the_time(elapse: Pass) -> None:
    schedule = StepSchedule(60)
    assert schedule.is_candidate_due(more_wait=False) and not schedule.is_candidate_due(more_wait=True)
    elapse(1.0)
    assert schedule.is_candidate_due(more_wait=True)
    schedule.tried()
    schedule.published(0.25)
    elapse(1.0)
    assert schedule.is_candidate_due(more_wait=True), "what was not published before counts on"
    schedule.tried()
    schedule.published(0.5)
    elapse(1.0)
    assert not schedule.is_candidate_due(more_wait=True) and not schedule.is_candidate_due(more_wait=False)
    elapse(1.25)
    assert schedule.is_candidate_due(more_wait=True)


def test_a_checkpoint_follows_the_work_that_a_recovery_would_repeat(elapse: Pass) -> None:
    schedule = StepSchedule(60)
    elapse(3.0)
    schedule.worked(3.0)
    assert schedule.until_checkpoint == 57
    schedule.worked(1.0)
    assert schedule.until_checkpoint <= 0
    schedule.checkpointed(0.5)
    schedule.worked(5.0)
    assert schedule.until_checkpoint == pytest.approx(4.5), "checkpoints take a tenth of the time at most"

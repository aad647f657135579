"""A short soak is as promised; and the checker does not take one that is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests import forked
from tests.faults.soak import events as seen
from tests.faults.soak.check import check, check_events
from tests.faults.soak.events import Event

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SECONDS = 5
SEED = 19
"""Its first faults kill processes of every kind."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soak")
    command = ["-m", "tests.faults.soak", "--seconds", str(SECONDS), "--seed", str(SEED), "--folder", str(folder)]
    ended = forked.run(command, os.environ, ROOT)
    assert (folder / "events.jsonl").exists(), ended.stdout + ended.stderr
    return folder


@pytest.fixture
def events(folder: Path) -> list[Event]:
    return seen.read(folder / "events.jsonl")


def test_under_random_faults_nothing_is_lost_learned_twice_left_over_or_refused(folder: Path) -> None:
    assert check(folder) == []


Tamper = Callable[[Event], list[Event]]


def once(kind: type, tamper: Callable[[Event], list[Event]], *, at: int = 0) -> Callable[[list[Event]], list[Event]]:
    """What makes something else of one event of a kind."""

    def change(events: list[Event]) -> list[Event]:
        place = [index for index, event in enumerate(events) if type(event) is kind][at]
        return [*events[:place], *tamper(events[place]), *events[place + 1 :]]

    return change


def replaced(**fields: object) -> Tamper:
    return lambda event: [msgspec.structs.replace(event, **fields)]


def left_out(event: Event) -> list[Event]:
    return []


def twice(event: Event) -> list[Event]:
    return [event, event]


def refused(events: list[Event]) -> list[Event]:
    """A prediction failed, as the last one was answered."""
    last = [event for event in events if isinstance(event, seen.Predicted)][-1]
    return [*events, seen.Failed("predict", last.app, last.begin, last.end, "Unavailable")]


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (once(seen.Ended, left_out), "did not end by itself"),
        (once(seen.Received, left_out), "is not there"),
        (once(seen.Received, replaced(state="queued")), "is queued"),
        (once(seen.Logged, left_out), "is not in the log"),
        (once(seen.Logged, twice), "2 times"),
        (once(seen.Logged, replaced(id="nobody's")), "nobody has sent"),
        (once(seen.Stepped, left_out), "the steps were not read"),
        (once(seen.Stepped, twice), "and the one before ended at"),
        (once(seen.Predicted, replaced(version=10**6)), "after version 1000000"),
        (once(seen.Answered, replaced(statuses=["conflict"]), at=-1), "was refused: conflict"),
        (once(seen.Over, lambda event: [seen.Stuck(1, 0.0, "it did not happen")]), "did not heal"),
        (refused, "which nothing kept from it"),
    ],
)
def test_a_log_of_events_that_breaks_a_promise_is_not_taken(
    events: list[Event], tamper: Callable[[list[Event]], list[Event]], words: str
) -> None:
    assert any(words in text for text in check_events(tamper(events)))


def test_a_step_that_came_out_otherwise_and_a_file_that_nothing_refers_to_are_seen(
    folder: Path, events: list[Event], tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(folder / "data")
    log = seen.EventLog(tmp_path / "events.jsonl")
    for event in once(seen.Stepped, replaced(digest="another"), at=-1)(events):
        log.write(event)
    log.close()
    (uid, *_) = next(event for event in events if isinstance(event, seen.Began)).models.values()
    stray = folder / "data" / "artifacts" / uid / "stray"
    stray.touch()
    try:
        found = check(tmp_path)
    finally:
        stray.unlink()
    assert "weather: a file that nothing refers to is there: stray" in found
    assert any("is not the one that was seen" in text for text in found)

"""A task that is ended has ended, and one that fails is restarted."""

from __future__ import annotations

import asyncio
import logging

import pytest

from driftline.support.tasks import Troubles, end, supervised
from tests.waiting import SECONDS, until_async

pytestmark = pytest.mark.anyio


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    lost = 0

    async def lose_two() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost > 2:
                    raise

    task = asyncio.create_task(lose_two())
    await asyncio.sleep(0)
    async with asyncio.timeout(SECONDS):
        await end(task)
    assert task.done() and lost == 3


async def test_what_a_task_raises_is_its_own() -> None:
    async def fail() -> None:
        raise ValueError

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end(task)
    assert isinstance(task.exception(), ValueError)


class Failing:
    """A task that raises these errors, one a start, and then works on until it is cancelled."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.works = asyncio.Event()

    async def __call__(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.works.set()
        await asyncio.Event().wait()


async def test_a_task_that_raises_twice_is_restarted_shown_and_logged_once_per_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    troubles, failing = Troubles(), Failing(ValueError("no luck"), ValueError("no luck"), OSError("no disk"))
    task = asyncio.create_task(supervised("sweep", failing, troubles, first_delay=0.001))
    await failing.works.wait()
    (shown,) = troubles.current().values()
    assert list(troubles.current()) == ["sweep"]
    assert shown.startswith("OSError: no disk (failed 3 times since 20")
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message.partition(": ")[2] for record in logged] == ["ValueError: no luck", "OSError: no disk"]
    assert all(record.exc_info for record in logged), "with the traceback"
    await end(task)


async def test_a_trouble_is_over_when_the_task_has_run_well_for_a_while_or_says_so() -> None:
    troubles, failing, other = Troubles(), Failing(ValueError("once")), Failing(ValueError("once"))
    quick = asyncio.create_task(supervised("quick", failing, troubles, first_delay=0, healthy_seconds=0.01))
    slow = asyncio.create_task(supervised("slow", other, troubles, first_delay=0))
    await other.works.wait()
    await until_async(lambda: list(troubles.current()) == ["slow"])
    troubles.over("slow")
    assert troubles.current() == {}
    await end(quick, slow)


async def test_restarts_wait_ever_longer_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr("driftline.support.tasks.asyncio.sleep", note)
    failing = Failing(*[ValueError("again")] * 5)
    task = asyncio.create_task(supervised("sweep", failing, Troubles(), first_delay=1, last_delay=5))
    await failing.works.wait()
    assert slept == [1, 2, 4, 5, 5]
    monkeypatch.undo()
    await end(task)


async def test_a_task_that_returns_is_over_and_a_fatal_error_is_raised() -> None:
    async def done() -> None:
        return

    troubles = Troubles()
    await supervised("once", done, troubles)
    with pytest.raises(KeyError):
        await supervised("fatal", Failing(KeyError("gone")), troubles, fatal=(KeyError,))
    assert troubles.current() == {}


async def test_a_failure_is_told_and_one_in_telling_it_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    async def tell(error: Exception) -> None:
        told.append(str(error))
        raise OSError("the store is down")

    failing = Failing(ValueError("one"), ValueError("two"))
    task = asyncio.create_task(supervised("sweep", failing, Troubles(), on_failure=tell, first_delay=0))
    await failing.works.wait()
    assert told == ["one", "two"] and "the store is down" in caplog.text
    await end(task)

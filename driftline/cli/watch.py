"""The progress of a backtest while it plays."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from driftline.support.formatting import time_text

if TYPE_CHECKING:
    from rich.console import Console

    from driftline.backtest.replay import Advance, BacktestProgress

LINE_EVERY = 10.0
"""Seconds between two lines of a recipe, where there is no terminal."""


@contextmanager
def watching(recipes: Iterable[str], rows: int, measure: str, is_wanted: bool) -> Iterator[Advance]:
    """Shows rows, rate, time left and the running measure of each recipe on standard error; yields what is told of progress.

    A terminal has a display that moves, and keeps it where it ``is_wanted``; without one, lines where they are.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with _display(console, list(recipes), rows, measure, keeps=is_wanted) as advance:
            yield advance
    else:
        yield ProgressLines(measure).tell if is_wanted else lambda progress: None


@contextmanager
def _display(console: Console, recipes: list[str], rows: int, measure: str, keeps: bool) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", justify="right"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[measure]}", justify="right"),
    )
    with Bars(*columns, console=console, transient=not keeps) as bars:
        tasks: dict[str, TaskID] = {
            name: bars.add_task(name, total=rows, start=False, rate="", measure="") for name in recipes
        }
        clock = _Clock()

        def advance(progress: BacktestProgress) -> None:
            task, seconds = tasks[progress.recipe], clock.seconds(progress)
            if not bars.tasks[task].started:
                bars.start_task(task)
            rate = _rate(progress.rows, seconds)
            bars.update(task, completed=progress.rows, rate=rate, measure=_measured(measure, progress))

        yield advance


class _Clock:
    """How long a recipe has been played: since another one was, or from the start."""

    def __init__(self) -> None:
        self._place_was_free = time.monotonic()
        self._begun: dict[str, float] = {}

    def seconds(self, progress: BacktestProgress) -> float:
        now = time.monotonic()
        begun = self._begun.setdefault(progress.recipe, self._place_was_free)
        if progress.rows == progress.of_rows:
            self._place_was_free = now
        return now - begun


class ProgressLines:
    """A line now and then, and one when a recipe was played."""

    def __init__(self, measure: str) -> None:
        self._measure = measure
        self._clock = _Clock()
        self._told = time.monotonic()

    def tell(self, progress: BacktestProgress) -> None:
        """Prints it if it is time, or the recipe was played."""
        now, seconds = time.monotonic(), self._clock.seconds(progress)
        if progress.rows < progress.of_rows and now - self._told < LINE_EVERY:
            return
        self._told = now
        left = seconds * (progress.of_rows - progress.rows) / progress.rows
        parts = [
            f"{progress.recipe}: {progress.rows:,} of {progress.of_rows:,} rows",
            _rate(progress.rows, seconds),
            f"{time_text(left)} left" if progress.rows < progress.of_rows else "",
            _measured(self._measure, progress),
        ]
        print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)


def _rate(rows: int, seconds: float) -> str:
    return f"{rows / seconds:,.0f} rows/s" if seconds > 0 else ""


def _measured(measure: str, progress: BacktestProgress) -> str:
    return "" if progress.measure is None else f"{measure} {progress.measure:.4g}"

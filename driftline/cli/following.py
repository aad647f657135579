"""Commands that go on: what changes is shown as it changes, and Ctrl-C leaves everything as it is."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from driftline.cli.endings import STOPPED
from driftline.cli.output import console, is_terminal, print_json, print_table, table_of
from driftline.errors import Busy, Late, Unavailable

if TYPE_CHECKING:
    from driftline.api.control import JobState
    from driftline.client.clients import Client

WATCH_SECONDS: Final = 2.0
LINE_SECONDS: Final = 10.0

Watch = Annotated[bool, typer.Option("--watch", help="Show it again whenever it has changed, until Ctrl-C.")]
Rows: TypeAlias = Sequence[Mapping[str, Any]]
Columns: TypeAlias = Sequence[str] | Callable[[Rows], Sequence[str]]
"""The columns of a table, or what makes them of its rows."""
PASSING: Final = (Busy, Late, Unavailable)
"""What a server that is asked again may get over."""


@contextlib.contextmanager
def until_stopped(hint: str | None = None) -> Iterator[None]:
    """Ctrl-C ends the command; ``hint`` says how things stand."""
    try:
        yield
    except KeyboardInterrupt:
        if hint is not None:
            print(f"stopped; {hint}", file=sys.stderr)
        raise typer.Exit(STOPPED) from None


def show_rows(
    load: Callable[[], Rows], columns: Columns, *, as_json: bool, empty: str, is_watched: bool = False
) -> None:
    """Prints rows as a table, and again whenever they have changed where it ``is_watched``."""
    if not is_watched:
        rows = load()
        print_table(rows, _of(columns, rows), as_json, empty=empty)
        return
    with until_stopped():
        if is_terminal() and not as_json:
            _watch_live(load, columns, empty)
        else:
            _watch_lines(load, columns, as_json, empty)


def _of(columns: Columns, rows: Rows) -> Sequence[str]:
    return columns(rows) if callable(columns) else columns


def _watch_live(load: Callable[[], Rows], columns: Columns, empty: str) -> None:
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        for rows in _loaded(load):
            live.update(table_of(rows, _of(columns, rows)) if rows else empty, refresh=True)


def _watch_lines(load: Callable[[], Rows], columns: Columns, as_json: bool, empty: str) -> None:
    before = None
    for rows in _loaded(load):
        if rows != before:
            print_table(rows, _of(columns, rows), as_json, empty=empty)
            sys.stdout.flush()
        before = rows


def _loaded(load: Callable[[], Rows]) -> Iterator[Rows]:
    """What is loaded again and again, while the server answers; where it does not, it is asked on."""
    yield load()
    while True:
        time.sleep(WATCH_SECONDS)
        with contextlib.suppress(*PASSING):
            yield load()


def follow_job(client: Client, identifier: str, timeout: float) -> JobState:
    """Shows how far a job has come until it has ended; Ctrl-C leaves it running, and says how to come back."""
    from driftline.client.calls import FINAL_JOB_STATES
    from driftline.client.requests import pauses

    print(f"job {identifier}", file=sys.stderr, flush=True)
    back = f"the job goes on: driftline job {identifier} --wait comes back to it, --cancel ends it"
    with until_stopped(back), _job_bar() as show:
        for pause in pauses(timeout):
            with contextlib.suppress(*PASSING):
                job = client.job(identifier)
                show(job)
                if job["state"] in FINAL_JOB_STATES:
                    return job
            time.sleep(pause)
    raise Late(f"the job {identifier} has not ended after {timeout:g} s; {back}")


@contextlib.contextmanager
def _job_bar() -> Iterator[Callable[[JobState], None]]:
    """A bar in a terminal; elsewhere a line now and then."""
    screen = console(is_error=True)
    if not screen.is_terminal:
        yield _JobLines().tell
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bars:
        task = bars.add_task("queued", total=None)

        def show(job: JobState) -> None:
            share = job.get("progress") or 0.0
            total = None if job["state"] == "queued" else 1.0
            bars.update(task, description=job["state"], total=total, completed=share)

        yield show


class _JobLines:
    """A line when the state changes, and now and then."""

    def __init__(self) -> None:
        self._state = ""
        self._told = time.monotonic()

    def tell(self, job: JobState) -> None:
        now = time.monotonic()
        if job["state"] == self._state and now - self._told < LINE_SECONDS:
            return
        self._state, self._told = job["state"], now
        share = f", {job.get('progress') or 0.0:.0%}" if job["state"] == "running" else ""
        print(f"{job['state']}{share}", file=sys.stderr, flush=True)


def follow_receipt(client: Client, model: str, identifier: str, as_json: bool) -> str:
    """Prints each state of an item, with the seconds since the first, until it is served or refused; gives the last one."""
    from driftline.client.calls import FINAL_RECEIPT_STATES

    began, before = time.monotonic(), None
    with until_stopped():
        while True:
            receipt: Mapping[str, Any] | None = None
            with contextlib.suppress(*PASSING):
                receipt = client.receipt(model, identifier)
            if receipt is not None and receipt["state"] != before:
                before = receipt["state"]
                _print_receipt(receipt, time.monotonic() - began, as_json)
            if before in FINAL_RECEIPT_STATES:
                return str(before)
            time.sleep(0.1)


def _print_receipt(receipt: Mapping[str, Any], seconds: float, as_json: bool) -> None:
    if as_json:
        print_json(receipt)
    else:
        more = ", ".join(f"{name} {value}" for name, value in receipt.items() if name != "state" and value is not None)
        print(f"{seconds:6.1f} s  {receipt['state']:<12} {more}".rstrip())
    sys.stdout.flush()

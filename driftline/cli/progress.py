"""How far a file has come, on standard error: bars in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from driftline.support.formatting import count_text

if TYPE_CHECKING:
    from driftline.files.sending import Progress


class FileProgress:
    """Shows what it is called with. Use it as a context manager.

    Args:
        rows: how many rows the file has, about; None: nobody knows.
        is_learning: whether what is learned is shown as well.
        line_seconds: how often a line is printed, where there is no terminal.
        trouble_seconds: how often it is said what is in the way.
    """

    def __init__(
        self, rows: int | None, *, is_learning: bool, line_seconds: float = 10.0, trouble_seconds: float = 30.0
    ) -> None:
        from rich.console import Console

        self.rows = rows
        self.is_learning = is_learning
        self.line_seconds = line_seconds
        self.trouble_seconds = trouble_seconds
        self.console = Console(stderr=True, highlight=False, markup=False)
        self._told: set[str] = set()
        self._lined = time.monotonic()
        self._trouble_from = 0.0
        self._bars = _Bars(self.console, is_learning) if self.console.is_terminal else None

    def __enter__(self) -> FileProgress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, progress: Progress) -> None:
        """Shows how far it has come."""
        for doubt in progress.doubts:
            if doubt not in self._told:
                self._told.add(doubt)
                self._say(f"· {doubt}")
        # A log that is full at times is so again and again, and says each time how full it is.
        if progress.trouble is not None and time.monotonic() > self._trouble_from:
            self._trouble_from = time.monotonic() + self.trouble_seconds
            self._say(f"it goes on as soon as it can: {progress.trouble}")
        if self._bars is not None:
            self._bars.show(progress, self.rows)
        elif time.monotonic() - self._lined > self.line_seconds:
            self._lined = time.monotonic()
            self._say(self._line(progress))

    def _line(self, progress: Progress) -> str:
        parts = [f"{count_text(progress.read, 'row')} read", f"{progress.sent:,} sent"]
        if self.is_learning:
            parts.append(f"{progress.learned:,} learned")
        if progress.refused:
            parts.append(f"{progress.refused:,} refused")
        return f"{', '.join(parts)}, {progress.seconds:,.0f} s"

    def _say(self, text: str) -> None:
        if self._bars is not None:
            self.console.print(text)
        else:
            print(text, file=sys.stderr, flush=True)


class _Bars:
    """A bar for what is sent, and one for what is learned."""

    def __init__(self, console: object, is_learning: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        assert isinstance(console, Console)
        self._progress = Progress(
            *(TextColumn("{task.description:>8}"), BarColumn(), TextColumn("{task.fields[count]}")),
            *(TextColumn("{task.fields[rate]}"), TimeRemainingColumn()),
            console=console,
            transient=True,
        )
        names = ("sent", "learned") if is_learning else ("sent",)
        self._tasks = {name: self._progress.add_task(name, total=None, count="", rate="") for name in names}
        self.start, self.stop = self._progress.start, self._progress.stop

    def show(self, progress: Progress, rows: int | None) -> None:
        total = progress.handed if progress.is_read else None if rows is None else max(rows, progress.read)
        for name, task in self._tasks.items():
            count = progress.sent if name == "sent" else progress.learned
            rate = f"{count / max(progress.seconds, 1e-3):,.0f} rows/s"
            shown = f"{count:,} of {total:,}" if progress.is_read else f"{count:,}"
            self._progress.update(task, completed=count, total=total, count=shown, rate=rate)

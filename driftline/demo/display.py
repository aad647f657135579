"""The display of the running demo: a live chart in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from driftline.demo import chart
from driftline.demo.digits import PHASES
from driftline.demo.outcome import GOOD_ACCURACY, DemoOutcome


def make_display(is_plain: bool) -> Display:
    """The chart for a terminal, or plain lines."""
    console = Console(highlight=False)
    return Lines(console) if is_plain or not console.is_terminal else Picture(console)


class Display(ABC):
    """Shows an outcome as it grows, and its summary."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def note(self, line: str) -> None:
        """Print a note."""
        self.console.print(line, style="dim")

    @contextlib.contextmanager
    def live(self, outcome: DemoOutcome) -> Iterator[None]:
        """Show ``outcome`` during the block."""
        yield

    @abstractmethod
    def draw(self, outcome: DemoOutcome) -> None:
        """Show ``outcome`` as it is now."""

    def summary(self, outcome: DemoOutcome) -> None:
        """Show the results at the end."""
        self.console.print(phases_table(outcome))
        for name, value in totals(outcome):
            self.console.print(f"{name:<26}{value}")
        failures = outcome.failures()
        for failure in failures:
            self.console.print(f"✗ {failure}", style="bold red")
        if not failures:
            words = "no request failed, no label was lost, and accuracy came back after each drift"
            self.console.print(f"✓ {words}", style="bold green")


class Lines(Display):
    """Prints a line every few seconds."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._next = 0.0
        self._activity = ""

    def draw(self, outcome: DemoOutcome) -> None:
        if outcome.now < self._next and outcome.activity == self._activity:
            return
        self._next = outcome.now + outcome.seconds / 50
        self._activity = outcome.activity
        accuracy = "-" if outcome.accuracy is None else f"{outcome.accuracy:.2f}"
        print(
            f"{outcome.now:6.1f} s  {outcome.activity:<35}  accuracy {accuracy:<4}  version {outcome.version:<4} "
            f"alarms {len(outcome.alarms)}  waiting {outcome.labels_waiting:<4} answered {outcome.answered:<6} "
            f"failed {outcome.failed}  label to served {seconds_text(outcome.typical_label_to_served)}",
            flush=True,
        )


class Picture(Display):
    """A chart of the accuracy over time, with the numbers of the moment below it."""

    @contextlib.contextmanager
    def live(self, outcome: DemoOutcome) -> Iterator[None]:
        with Live(picture(outcome, self.console), console=self.console, auto_refresh=False) as self._live:
            yield
            self.draw(outcome)

    def draw(self, outcome: DemoOutcome) -> None:
        self._live.update(picture(outcome, self.console), refresh=True)


def picture(outcome: DemoOutcome, console: Console) -> RenderableType:
    """The whole display, as large as the terminal allows."""
    width, height = console.size
    rows, columns = max(4, min(height - 12, 24)), max(20, min(width - 10, 150))
    return Group(
        Panel(
            plot(outcome, rows, columns),
            title="[bold]driftline[/] · handwritten digits, labels that come late",
            subtitle="accuracy of the last 200 answers",
            border_style="cyan",
            width=columns + 9,
        ),
        numbers(outcome, columns + 9),
    )


def plot(outcome: DemoOutcome, rows: int, columns: int) -> Text:
    """The accuracy as a line over time; each drift is an upright mark."""
    marks = [phase.start for phase in outcome.phases[1:]]
    text = Text(no_wrap=True)
    for label, line in chart.draw(outcome.line, marks, outcome.length, rows, columns):
        text.append(label, "dim")
        text.append("│", "dim")
        text.append(line + "\n", accuracy_style(outcome.accuracy))
    text.append("    └", "dim")
    for phase in PHASES:
        cells = round(phase.share * columns)
        is_now = phase.name == outcome.activity
        text.append(f"{phase.name[: cells - 2]:─<{cells}}", "bold" if is_now else "dim")
    return text


def numbers(outcome: DemoOutcome, width: int) -> RenderableType:
    """The numbers of the moment."""
    table = Table.grid(padding=(0, 2), expand=False)
    for _ in range(3):
        table.add_column(style="dim")
        table.add_column(justify="right", min_width=max(7, (width - 66) // 3))
    accuracy = "-" if outcome.accuracy is None else f"{outcome.accuracy:.1%}"
    failed = Text(str(outcome.failed), "bold red" if outcome.failed else "green")
    alarms = Text(str(len(outcome.alarms)), "bold yellow" if outcome.alarms else "")
    newest = outcome.label_to_served[-1] if outcome.label_to_served else None
    table.add_row(
        *("accuracy", Text(accuracy, accuracy_style(outcome.accuracy))),
        *("requests answered", f"{outcome.answered:,}"),
        *("labels waiting", f"{outcome.labels_waiting:,}"),
    )
    table.add_row(
        *("version", f"{outcome.version:,}"),
        *("requests failed", failed),
        *("labels learned", f"{outcome.learned:,}"),
    )
    table.add_row("alarms", alarms, "labels out", f"{outcome.labels_owed:,}", "label to served", seconds_text(newest))
    progress = ProgressBar(total=outcome.length, completed=min(outcome.now, outcome.length), width=width - 8)
    status = Table.grid(padding=(0, 1))
    status.add_row(progress, f"{min(outcome.now, outcome.length):3.0f} s")
    return Group(table, Text(outcome.activity, "bold"), status)


def phases_table(outcome: DemoOutcome) -> Table:
    """The accuracy of each phase."""
    table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    for column in ("phase", "before", "lowest", "at the end", "back after"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for phase in outcome.phases:
        before = "" if phase.before is None else f"{phase.before:.2f}"
        last = Text(f"{phase.last:.2f}", "green" if phase.last >= GOOD_ACCURACY else "bold red")
        table.add_row(phase.name, before, f"{phase.lowest:.2f}", last, seconds_text(phase.recovered))
    return table


def totals(outcome: DemoOutcome) -> list[tuple[str, str]]:
    """The numbers of the whole run."""
    times = sorted(outcome.predict_seconds)
    late = f"{1000 * times[len(times) * 99 // 100]:.0f} ms" if times else "-"
    typical = f"{1000 * statistics.median(times):.0f} ms" if times else "-"
    return [
        ("requests answered, failed", f"{outcome.answered:,}, {outcome.failed:,}"),
        ("time to an answer", f"median {typical}, 99% within {late}"),
        ("labels served, lost", f"{outcome.served:,} of {outcome.acknowledged:,}, {outcome.lost:,}"),
        ("time from label to served", f"median {seconds_text(outcome.typical_label_to_served)}"),
        ("versions, alarms", f"{outcome.version:,}, {len(outcome.alarms):,}"),
    ]


def accuracy_style(accuracy: float | None) -> str:
    """The colour of an accuracy: green from a good one on."""
    if accuracy is None:
        return "dim"
    return "green" if accuracy >= GOOD_ACCURACY else "yellow" if accuracy >= 0.6 else "red"


def seconds_text(seconds: float | None) -> str:
    """A time as it is shown; a dash if there is none yet."""
    return "-" if seconds is None else f"{seconds:.1f} s"

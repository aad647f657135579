"""The screen of ``top``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Footer, Static

from driftline.cli.output import STYLES, ago_text
from driftline.errors import DriftlineError

if TYPE_CHECKING:
    from driftline.client.clients import Client

COLUMNS: Final = ("model", "state", "version", "score", "last hour", "learned", "waiting", "alarms", "worker")
EVENTS: Final = 50
BARS: Final = "▁▂▃▄▅▆▇█"
HOUR: Final = 3600.0
SCORES: Final = ("accuracy", "mae")


@dataclass
class ModelLine:
    """What is shown of a model; ``history`` are its scores of the last hour, the oldest first."""

    name: str
    state: str
    version: int
    learned: int
    waiting: int
    score: str = ""
    history: list[float] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    worker: str = ""


@dataclass
class Look:
    """What one look at the server has found."""

    lines: list[ModelLine]
    events: list[Any]
    note: str = ""


def look(client: Client) -> Look:
    """Asks the server for all that is on the screen."""
    owners = {name: worker["id"] for worker in client.workers() for name in worker["models"]}
    lines = [_line(client, model, owners) for model in client.models()]
    standing = sum(len(line.alarms) for line in lines)
    note = f"{len(lines)} models, {standing} alarms stand, {len(set(owners.values()))} workers"
    return Look(lines, client.all_events(limit=EVENTS)["events"], note)


def _line(client: Client, model: Any, owners: dict[str, str]) -> ModelLine:
    name = model["name"]
    line = ModelLine(name, model["state"], model["version"], model["learned"], model["waiting"])
    metrics: Any = client.metrics(name)
    window: dict[str, Any] = (metrics.get("prequential") or {}).get("window") or {}
    measure = next((each for each in ("accuracy", "hamming_loss", "normalized_mae", "mae") if each in window), None)
    if measure is not None:
        line.score = f"{measure.replace('_', ' ')} {window[measure]:.3g}"
    line.alarms = [alarm["kind"] for alarm in metrics["alarms"] if alarm["state"] != "over"]
    line.worker = owners.get(name, "")
    buckets: Any = client.scores(name, since=time.time() - HOUR, step=120)["buckets"]
    line.history = [bucket[each] for bucket in buckets for each in SCORES if each in bucket]
    return line


def sparkline(values: Sequence[float]) -> str:
    """Numbers as bars between the least and the largest of them.

    >>> sparkline([0.0, 0.5, 1.0]), sparkline([])
    ('▁▅█', '')
    """
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in values)


class Screen(App[None]):
    """Models above, events below; it is filled again every few ``seconds``."""

    CSS = """
    #note { height: 1; background: $panel; padding: 0 1; }
    #models { height: 1fr; }
    #events { height: 40%; border-top: solid $primary; padding: 0 1; overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [("q", "quit", "Quit"), ("r", "refresh_now", "Refresh")]
    TITLE = "driftline top"

    def __init__(self, client: Client, seconds: float) -> None:
        super().__init__()
        self.client_, self.seconds = client, seconds

    def compose(self) -> ComposeResult:
        yield Static("…", id="note")
        yield DataTable(id="models", cursor_type="row")
        yield Vertical(Static("", id="lines"), id="events")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self.action_refresh_now()
        self.set_interval(self.seconds, self.action_refresh_now)

    def action_refresh_now(self) -> None:
        self.fetch()

    @work(thread=True, exclusive=True)
    def fetch(self) -> None:
        """Looks in a thread of its own: a server that is slow does not hold the screen."""
        try:
            found = look(self.client_)
        except DriftlineError as error:
            self.call_from_thread(self.query_one("#note", Static).update, Text(error.message, "bold red"))
            return
        self.call_from_thread(self.show, found)

    def show(self, found: Look) -> None:
        """Fills the screen."""
        self.query_one("#note", Static).update(Text(f"{self.client_.url}  {found.note}"))
        table = self.query_one(DataTable)
        row = table.cursor_row
        table.clear()
        for line in found.lines:
            table.add_row(*_cells(line), key=line.name)
        table.move_cursor(row=min(row, max(0, len(found.lines) - 1)))
        self.query_one("#lines", Static).update(_event_lines(found.events))


def _cells(line: ModelLine) -> tuple[Text, ...]:
    alarms = Text(", ".join(line.alarms), "bold yellow")
    waiting = Text(f"{line.waiting:,}", "yellow" if line.waiting > 1000 else "", justify="right")
    return (
        Text(line.name, "bold"),
        Text(line.state, STYLES.get(line.state, "")),
        Text(f"{line.version:,}", justify="right"),
        Text(line.score),
        Text(sparkline(line.history), "cyan"),
        Text(f"{line.learned:,}", justify="right"),
        waiting,
        alarms,
        Text(line.worker, "dim"),
    )


def _event_lines(events: Sequence[Any]) -> Text:
    found = Text()
    for event in events:
        found.append(f"{ago_text(event['time']):<12}", "dim")
        found.append(f"{event['model']:<16} ")
        found.append(f"{event['kind']:<14} ", STYLES.get(event["kind"], ""))
        found.append(f"{event['message']}\n")
    return found

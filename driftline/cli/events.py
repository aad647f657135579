"""What happens and has happened: ``events``, ``alarms``, ``acknowledge``, ``workers``."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from driftline.cli.common import AnyModel, ModelName, Server
from driftline.cli.following import Watch, show_rows, until_stopped
from driftline.cli.output import console, print_fields, print_json, print_table
from driftline.cli.parameters import expanded

if TYPE_CHECKING:
    from driftline.api.events import Event
    from driftline.client.clients import Client

MAX_PAGE: Final = 1000
UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
EVENT_COLUMNS: Final = ("time", "model", "kind", "version", "actor", "message", "reason")
ALARM_COLUMNS: Final = ("model", "kind", "state", "time", "ended", "acknowledged_by", "message")
WORKER_COLUMNS: Final = (
    "id",
    "state",
    "host",
    "pid",
    "started",
    "load",
    "restarts",
    "silent_seconds",
    "models",
    "computing",
)

Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="From then on: 90s, 30m, 12h or 7d ago, or a time by ISO 8601."),
]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", metavar="KIND", help="Such as version, alarm, job; may be repeated.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (events, alarms, acknowledge, workers):
        app.command()(expanded(command))


def events(
    server: Server,
    model: AnyModel = None,
    kind: Kinds = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest ones, so many.")] = 50,
    is_followed: Annotated[bool, typer.Option("--follow", help="Then show each one as it happens.")] = False,
) -> None:
    """What has happened, the newest last: versions, refusals, alarms, commands, jobs, keys; who did it, and why.

    For example: driftline events churn --kind alarm --kind rollback --since 7d
    """
    columns = [column for column in EVENT_COLUMNS if column != "model" or model is None]
    with server.patient(model) if is_followed else server.client() as client:
        newest = newest_events(client, model, kind, parse_time(since), min(limit, MAX_PAGE))
        found = list(itertools.islice(newest, limit))[::-1]
        if not is_followed:
            print_table(found if server.as_json else _shown(found), columns, server.as_json, empty="nothing yet")
            return
        with until_stopped():
            _follow(client, model, kind, found, columns, server.as_json)


def newest_events(
    client: Client,
    model: str | None,
    kinds: Sequence[str] | None,
    since: float | None = None,
    page_size: int = MAX_PAGE,
) -> Iterator[Event]:
    """The events of a model, or of all, the newest first, read page by page."""
    before = None
    while True:
        what: dict[str, Any] = {"kind": kinds, "since": since, "before": before, "limit": page_size}
        page = client.all_events(**what) if model is None else client.events(model, **what)
        yield from page["events"]
        before = page["next"]
        if before is None:
            return


def _follow(
    client: Client,
    model: str | None,
    kinds: list[str] | None,
    found: list[Event],
    columns: Sequence[str],
    as_json: bool,
) -> None:
    """Prints events, and each further one as it happens; while the server does not answer, it is asked on."""
    further = client.follow(model, kind=kinds, after=found[-1]["id"] if found else None)
    for event in itertools.chain(found, further):
        if as_json:
            print_json(event)
        else:
            _print_line(event, columns)
        sys.stdout.flush()


def _print_line(event: Event, columns: Sequence[str]) -> None:
    """A line for an event: they come one by one, and no table waits for the last one."""
    from rich.text import Text

    (shown,) = _shown([event])
    moment = datetime.fromtimestamp(event["time"]).astimezone().isoformat(sep=" ", timespec="seconds")
    parts = [str(shown[name]) for name in columns if name not in ("time", "version") and shown.get(name)]
    console().print(Text("  ".join([moment, *parts])), soft_wrap=True)


def _shown(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Events as they are shown: without a reason that the message says already."""
    rows: list[dict[str, Any]] = []
    for event in events:
        reason = event.get("reason") or None
        rows.append({**event, "reason": None if reason is None or reason in event["message"] else reason})
    return rows


def parse_time(text: str | None, option: str = "--since", now: float | None = None) -> float | None:
    """A time in seconds since 1970, from one by ISO 8601 or from how long ago it was.

    >>> parse_time("2h", now=10000.0), parse_time("1970-01-01T00:01:00Z")
    (2800.0, 60.0)
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip())
    if found is not None and found[2] in UNITS:
        return (time.time() if now is None else now) - float(found[1]) * UNITS[found[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        message = f"{option} takes 90s, 30m, 12h, 7d, or a time by ISO 8601, not {text!r}"
        raise typer.BadParameter(message) from None


def alarms(server: Server, model: AnyModel = None, is_watched: Watch = False) -> None:
    """What is wrong, or was lately: the newest alarm of each kind, whether it stands, and who has seen it."""
    with server.client() as client:
        show_rows(
            lambda: _alarms(client, model),
            [column for column in ALARM_COLUMNS if column != "model" or model is None],
            as_json=server.as_json,
            empty="no alarm",
            is_watched=is_watched,
        )


def _alarms(client: Client, model: str | None) -> list[dict[str, Any]]:
    names = [each["name"] for each in client.models()] if model is None else [model]
    found = [{"model": name, **alarm} for name in names for alarm in client.metrics(name)["alarms"]]
    return sorted(found, key=lambda alarm: (alarm["state"] == "over", -float(str(alarm.get("time") or 0))))


def acknowledge(
    model: ModelName,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="The kind of the alarm, such as drift.")],
    server: Server,
    reason: Annotated[str, typer.Option(help="Kept with it.")] = "",
) -> None:
    """Say that the alarm of a kind, which stands, was seen."""
    with server.client() as client:
        print_fields(client.acknowledge(model, kind, reason), server.as_json)


def workers(server: Server, is_watched: Watch = False) -> None:
    """The processes that learn: which models each owns, its load, its restarts, and whether it hangs."""
    with server.client() as client:
        show_rows(
            lambda: [_worker(each, server.as_json) for each in client.workers()],
            WORKER_COLUMNS,
            as_json=server.as_json,
            empty="no worker has told of itself",
            is_watched=is_watched,
        )


def _worker(worker: Any, as_json: bool) -> dict[str, Any]:
    if as_json:
        return dict(worker)
    computing = worker.get("computing")
    work = ", ".join(str(value) for value in computing.values()) if computing else None
    return {**worker, "models": ", ".join(worker["models"]), "computing": work}

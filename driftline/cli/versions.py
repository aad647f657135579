"""The versions of a model: ``versions`` lists them, ``why`` says what one changed and why it was let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from driftline.cli.common import ModelName, Server
from driftline.cli.events import newest_events
from driftline.cli.following import Rows, Watch, show_rows
from driftline.cli.job_report import print_job
from driftline.cli.output import console, is_terminal, moment_text, print_fields, print_json, print_table, spread
from driftline.cli.parameters import expanded
from driftline.errors import NotFound

if TYPE_CHECKING:
    from driftline.api.events import Event
    from driftline.client.clients import Client

FIRST: Final = ("version", "parent", "created", "offset", "step")
LEAST: Final = ("offset", "step")
"""Columns that are left out where the terminal is narrower than ``WIDE``."""
WIDE: Final = 120
KINDS: Final = ("version", "rollback", "promote", "created")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (versions, why):
        app.command()(expanded(command))


def versions(
    model: ModelName,
    server: Server,
    limit: Annotated[int | None, typer.Option(min=1, help="The newest ones, so many; default: all.")] = None,
    is_watched: Watch = False,
) -> None:
    """The history of a model: each kept version with what the gate decided by, and why it was let in."""
    with server.client() as client:
        if server.as_json and not is_watched:
            print_json(client.versions(model)[-(limit or 0) :])
            return
        show_rows(
            lambda: [spread(row, "scores") for row in client.versions(model)[-(limit or 0) :]],
            _columns,
            as_json=server.as_json,
            empty="no versions",
            is_watched=is_watched,
        )


def _columns(rows: Rows) -> list[str]:
    """The columns of the table: what each version has, its scores, then the reason, which is long."""
    names = dict.fromkeys(name for row in rows for name in row)
    is_narrow = is_terminal() and console().width < WIDE
    first = [name for name in FIRST if not is_narrow or name not in LEAST]
    return [*first, *(name for name in names if name not in (*FIRST, "reason")), "reason"]


def why(
    model: ModelName,
    version: Annotated[int, typer.Argument(help="A kept version.")],
    server: Server,
) -> None:
    """What a version changed and why it was let in: its records, its parent, the gate's reason and scores, the job's edits."""
    with server.client() as client:
        found = client.version(model, version)
        event = _event_of(client, model, version)
        parent = _scores_of(client, model, found["parent"])
    told: dict[str, Any] = {**found, "event": event, "parent_scores": parent}
    if server.as_json:
        print_json(told)
        return
    print(f"version {version} of {model}, published {moment_text(found['created'])}")
    print_fields(_in_words(found, event), as_json=False)
    _print_scores(found["scores"], parent)
    if found["report"]:
        print()
        print_job({"report": dict(found["report"])}, as_json=False)


def _event_of(client: Client, model: str, version: int) -> Event | None:
    """The event that tells of a version; None where it is too long ago."""
    try:
        told = newest_events(client, model, KINDS)
        return next((event for event in told if event.get("version") == version), None)
    except NotFound as error:
        if error.code != "not_found":
            raise
        return None  # A server of a release without events.


def _scores_of(client: Client, model: str, version: int | None) -> dict[str, float] | None:
    if version is None:
        return None
    return next((row["scores"] for row in client.versions(model) if row["version"] == version), None)


def _in_words(found: Mapping[str, Any], event: Event | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"parent": found["parent"] if found["parent"] is not None else "none: it is the first"}
    records = None if event is None else event.get("records")
    if records:
        shown["records"] = f"{records[0]:,} to {records[1]:,}, {records[1] - records[0] + 1:,} new ones"
    else:
        shown["records"] = f"up to {found['offset']:,}"
    shown["reason"] = found["reason"]
    if event is not None:
        shown["by"] = event["actor"]
        if event["kind"] != "version":
            shown["what"] = event["kind"]
        if event["reason"] and event["reason"] != found["reason"]:
            shown["reason given"] = event["reason"]
        shown |= {name.replace("_", " "): value for name, value in (event.get("details") or {}).items()}
    return shown


def _print_scores(scores: Mapping[str, float], parent: Mapping[str, float] | None) -> None:
    rows = [
        {
            "score": name.replace("_", " "),
            "this version": value,
            "its parent's": None if parent is None else parent.get(name),
        }
        for name, value in scores.items()
    ]
    if rows:
        print()
        print_table(rows, ("score", "this version", "its parent's"), as_json=False, empty="")

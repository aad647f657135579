"""Commands about jobs: ``retrain``, ``compare``, ``job``, ``jobs``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.common import ModelName, Server, read_json
from driftline.cli.following import Watch, follow_job, show_rows
from driftline.cli.job_report import print_dry_run, print_job
from driftline.cli.output import print_fields
from driftline.cli.parameters import expanded

if TYPE_CHECKING:
    from driftline.client.clients import Client

JsonOption = Annotated[str | None, typer.Option(metavar="JSON", help="JSON, @file, or - for standard input.")]
Race = Annotated[
    list[Path] | None,
    typer.Option("--race", metavar="FILE", help="JSON: a recipe to compare with others; repeated for each of them."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit code 1 unless it succeeded.")]
Timeout = Annotated[float, typer.Option("--timeout", help="How long to wait at most, in seconds.")]
COLUMNS = ("id", "kind", "state", "progress", "promoted", "version", "began", "ended", "actor", "reason", "message")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (retrain, compare, job, jobs):
        app.command()(expanded(command))


def retrain(
    model: ModelName,
    server: Server,
    recipe: JsonOption = None,
    edits: JsonOption = None,
    race: Race = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the log.")] = None,
    reason: Annotated[str | None, typer.Option(help="Kept with the job.")] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would give and cost; begin nothing.")
    ] = False,
    is_waiting: Wait = False,
    timeout: Timeout = 3600.0,
) -> None:
    """Train again over the log, beside the model that goes on learning."""
    what = {
        "recipe": read_json(recipe),
        "edits": read_json(edits),
        "race": [read_json(f"@{file}") for file in race] if race else None,
        "epochs": epochs,
    }
    with server.client() as client:
        if is_dry_run:
            print_dry_run(client.retrain_dry_run(model, **what), server.as_json)
            return
        show_begun(client, client.retrain(model, **what, reason=reason), is_waiting, timeout, server.as_json)


def compare(
    model: ModelName,
    first: Annotated[int, typer.Argument(help="A kept version.")],
    second: Annotated[int, typer.Argument(help="Another one; differences are its less the first's.")],
    server: Server,
    is_waiting: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has ended.")] = True,
    reason: Annotated[str | None, typer.Option(help="Kept with the job.")] = None,
    timeout: Timeout = 3600.0,
) -> None:
    """Two kept versions side by side, on the same examples: scores, speed, size, and what is beyond chance."""
    with server.client() as client:
        show_begun(client, client.compare(model, first, second, reason), is_waiting, timeout, server.as_json)


def job(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    server: Server,
    is_waiting: Wait = False,
    is_cancelled: Annotated[bool, typer.Option("--cancel", help="End it.")] = False,
    timeout: Timeout = 3600.0,
) -> None:
    """A job's state: of a retrain, or of a comparison."""
    with server.client() as client:
        if is_cancelled:
            client.cancel_job(identifier)
        if is_waiting:
            _wait(client, identifier, timeout, server.as_json)
        else:
            print_job(client.job(identifier), server.as_json)


def jobs(
    model: ModelName,
    server: Server,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most that are listed.")] = 20,
    is_watched: Watch = False,
) -> None:
    """The jobs of a model, the newest first."""
    with server.client() as client:
        show_rows(
            lambda: [_without_what_is_said(each) for each in client.jobs(model, limit)],
            COLUMNS,
            as_json=server.as_json,
            empty=f"{model} has had no job; begin one: driftline retrain {model}",
            is_watched=is_watched,
        )


def _without_what_is_said(job: Mapping[str, Any]) -> dict[str, Any]:
    """A job without the words that its id and state say already, and without progress where it has ended."""
    shown = dict(job)
    if shown.get("ended") is not None:
        shown.pop("progress", None)
    message = str(shown.get("message") or "")
    shown["message"] = message.partition(": ")[2] or None
    if shown.get("reason") == shown["message"]:
        shown["message"] = None
    return shown


def show_begun(client: Client, identifier: str, is_waiting: bool, timeout: float, as_json: bool) -> None:
    """Says what a job that has begun goes by, and waits for it."""
    if is_waiting:
        _wait(client, identifier, timeout, as_json)
        return
    print_fields({"job_id": identifier}, as_json)
    if sys.stderr.isatty():
        print(f"driftline job {identifier} --wait shows how far it has come", file=sys.stderr)


def _wait(client: Client, identifier: str, timeout: float, as_json: bool) -> None:
    found = follow_job(client, identifier, timeout)
    print_job({"id": identifier, **found}, as_json)
    if found["state"] != "succeeded":
        raise typer.Exit(1)

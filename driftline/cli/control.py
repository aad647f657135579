"""Commands that control a model: ``rollback``, ``promote``, ``pause``, ``resume``, ``recipe``; and its ``metrics``."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline.cli.common import ModelName, Server, read_json
from driftline.cli.output import print_fields
from driftline.cli.parameters import expanded

Reason = Annotated[str | None, typer.Option("--reason", help="Why; kept with the event.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (rollback, promote, pause, resume, recipe, metrics):
        app.command()(expanded(command))


def rollback(
    model: ModelName,
    version: Annotated[int, typer.Argument(help="The version whose weights come back.")],
    server: Server,
    reason: Reason = None,
) -> None:
    """Publish an older version's weights as the next version."""
    with server.client() as client:
        print_fields(client.rollback(model, version, reason), server.as_json)


def promote(model: ModelName, server: Server, reason: Reason = None) -> None:
    """Make what has been learned the live version, whatever the gate says."""
    with server.client() as client:
        print_fields(client.promote(model, reason), server.as_json)


def pause(model: ModelName, server: Server, reason: Reason = None) -> None:
    """Stop learning; feedback waits."""
    with server.client() as client:
        print_fields(client.pause(model, reason), server.as_json)


def resume(model: ModelName, server: Server, reason: Reason = None) -> None:
    """Go on learning."""
    with server.client() as client:
        print_fields(client.resume(model, reason), server.as_json)


def recipe(
    model: ModelName,
    change: Annotated[str, typer.Argument(metavar="JSON", help="The fields to change: JSON, @file, or -.")],
    server: Server,
) -> None:
    """Change how a model learns."""
    body = read_json(change)
    with server.client() as client:
        print_fields(client.change_recipe(model, body), server.as_json)


def metrics(model: ModelName, server: Server) -> None:
    """How well it predicts, how far learning is behind, alarms."""
    with server.client() as client:
        print_fields(client.metrics(model), server.as_json)

"""``top``: every model and what happens, on one screen that keeps itself up to date."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from driftline.cli.common import Server
from driftline.cli.parameters import expanded
from driftline.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(expanded(top))


def top(
    server: Server,
    seconds: Annotated[float, typer.Option("--every", min=0.2, help="How often it is looked, in seconds.")] = 2.0,
) -> None:
    """Every model on one screen: accuracy of late, labels waiting, alarms that stand, workers, and what happens."""
    try:
        from driftline.cli.screen import Screen
    except ImportError:
        message = 'top needs the package textual: pip install "driftline[top]"'
        raise ConfigurationError(message, code="no_textual") from None
    if server.as_json or not sys.stdout.isatty():
        raise typer.BadParameter("top is for a terminal; models list, alarms, events and workers have --json")
    with server.client() as client:
        client.models()  # That there is no server is told before the screen is taken.
        Screen(client, seconds).run()

"""``forget``: labels out of the log, the predictions, the files and the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from driftline.cli.common import ModelName, Server
from driftline.cli.control import Reason
from driftline.cli.events import parse_time
from driftline.cli.jobs import Timeout, Wait, show_begun
from driftline.cli.output import print_fields
from driftline.cli.parameters import expanded

TIME = "90s, 30m, 12h or 7d ago, or a time by ISO 8601."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(expanded(forget))


def forget(
    model: ModelName,
    server: Server,
    keys: Annotated[
        list[str] | None, typer.Option("--row-key", help="Your own key of a row; repeated for each of them.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", metavar="FILE", help="Ids of items or of predictions, one a line."),
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="What this source has labelled.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help=f"What was labelled from then on: {TIME}")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help=f"What was labelled before then: {TIME}")
    ] = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be forgotten and learned again; begin nothing.")
    ] = False,
    reason: Reason = None,
    is_waiting: Wait = False,
    timeout: Timeout = 3600.0,
) -> None:
    """Erase labels and predictions, and learn again without them what came since.

    For example: driftline forget churn --row-key order-17 --dry-run
    """
    what: dict[str, Any] = {
        "keys": keys or None,
        "ids": None if ids is None else _lines(ids),
        "source": source,
        "since": parse_time(since, "--since"),
        "until": parse_time(until, "--until"),
    }
    with server.client() as client:
        if is_dry_run:
            print_fields(client.forget_dry_run(model, **what), server.as_json)
            return
        show_begun(client, client.forget(model, **what, reason=reason), is_waiting, timeout, server.as_json)


def _lines(path: Path) -> list[str]:
    """The lines of a file that are not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--ids") from None
    return [line.removesuffix("\r") for line in text.split("\n") if line.strip()]

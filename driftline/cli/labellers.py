"""Whose labels are learned: ``labellers`` lists whom they come from, ``quarantine`` those whose labels are not learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.common import ModelName, Server
from driftline.cli.control import Reason
from driftline.cli.output import print_fields, print_table
from driftline.cli.parameters import expanded
from driftline.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = (
    "name",
    "state",
    "labels",
    "held",
    "rejected",
    "agreement",
    "compared",
    "error",
    "error_of_others",
    "share",
    "reason",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (labellers, quarantine):
        app.command()(expanded(command))


def labellers(model: ModelName, server: Server) -> None:
    """Whom labels came from, how far these agree with those of others, and whether they are learned."""
    with server.client() as client:
        _show(client.labellers(model), server, "all labels came from nobody in particular")


def quarantine(
    model: ModelName,
    server: Server,
    release: Annotated[str | None, typer.Option("--release", metavar="NAME", help="Trust this labeller.")] = None,
    drop: Annotated[
        str | None, typer.Option("--drop", metavar="NAME", help="Drop what is kept of this labeller.")
    ] = None,
    reason: Reason = None,
) -> None:
    """The labellers whose labels are kept and not learned, and why; an admin releases or drops what is kept.

    For example: driftline quarantine churn --release 4be0c1a2f3d4/ward-7
    """
    if release is not None and drop is not None:
        raise InvalidInput("--release, --drop: one of them", field="drop", value=drop)
    with server.client() as client:
        if release is not None:
            print_fields(client.release_labeller(model, release, reason), server.as_json)
        elif drop is not None:
            print_fields(client.drop_labeller(model, drop, reason), server.as_json)
        else:
            found = [each for each in client.labellers(model) if each["state"] in ("on hold", "quarantined")]
            _show(found, server, "nobody is quarantined")


def _show(found: Sequence[Any], server: Server, empty: str) -> None:
    print_table(
        found if server.as_json else [{name: each[name] for name in COLUMNS} for each in found],
        COLUMNS,
        server.as_json,
        empty=empty,
    )

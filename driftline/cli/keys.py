"""``keys``: make, list, rotate and revoke API keys, in the file that the server on this machine reads."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.common import AsJson, DataDir, load_settings
from driftline.cli.output import print_fields, print_json, print_table

if TYPE_CHECKING:
    from driftline.api_keys import KeyStore

Scopes = Annotated[
    list[str],
    typer.Option("--scope", help="predict, feedback, weights, metrics, admin or audit; may be repeated."),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="A model that it is for, or a pattern such as team-a-*; may be repeated."),
]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="The part of the key before the dot.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="Make, list, rotate and revoke API keys.", no_args_is_help=True)
    keys.command("list")(list_keys)
    for command in (create, rotate, revoke):
        keys.command()(command)
    app.add_typer(keys, name="keys")


def _store(data_dir: Path | None) -> KeyStore:
    from driftline.api_keys import KeyStore

    return KeyStore.of(load_settings(data_dir=data_dir))


def _tell(data_dir: Path | None, identifier: str, name: str, what: str) -> None:
    """Puts it among the events of the instance, where one runs: the file of keys alone is what counts."""
    import asyncio
    import getpass

    from driftline.errors import Unavailable
    from driftline.processes.embedded import running_url
    from driftline.store.connection import RedisConnection
    from driftline.store.events import tell_key

    settings = load_settings(data_dir=data_dir)
    url = settings.redis_url or running_url(settings.data_dir)
    if url is None:
        return

    async def append() -> None:
        connection = RedisConnection(url, settings.prefix)
        try:
            await tell_key(connection, identifier, name, what, getpass.getuser())
        finally:
            await connection.close()

    try:
        asyncio.run(append())
    except Unavailable as error:
        print(f"driftline: no event tells of it: {error}", file=sys.stderr)


def create(
    scope: Scopes,
    name: Annotated[str, typer.Option(help="Whose it is.")] = "",
    models: Models = None,
    days: Annotated[float | None, typer.Option(min=0, help="How long it works; else for good.")] = None,
    owner: Annotated[
        str, typer.Option(help="Whose its predictions and labels are, shared by keys of one owner; else its own alone.")
    ] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is printed this once: only its hash is kept."""
    expires = None if days is None else time.time() + days * 24 * 3600
    token = _store(data_dir).create(scope, name, models=models or (), expires=expires, owner=owner)
    _tell(data_dir, token.partition(".")[0], name, "made")
    print_json({"key": token}) if as_json else print(token)


def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Every key, without its secret."""
    rows = [
        {
            "id": key.id,
            "name": key.name,
            "scopes": ", ".join(key.scopes),
            "models": ", ".join(key.models) or "all",
            "owner": key.owner,
            "expires": "never"
            if key.expires is None
            else datetime.fromtimestamp(key.expires, UTC).isoformat(timespec="seconds"),
            "created": key.created,
        }
        for key in _store(data_dir).list()
    ]
    empty = "there is no key; make one: driftline keys create --scope admin"
    print_table(rows, ("id", "name", "scopes", "models", "owner", "expires", "created"), as_json, empty=empty)


def rotate(
    identifier: Identifier,
    grace_hours: Annotated[float, typer.Option(min=0, help="How long the former secret works too.")] = 0.0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret. It is printed this once; the id, and what the key may do, stay."""
    store = _store(data_dir)
    token = store.rotate(identifier, grace_hours * 3600)
    _tell(data_dir, identifier, next(key.name for key in store.list() if key.id == identifier), "rotated")
    print_json({"key": token}) if as_json else print(token)


def revoke(
    identifier: Identifier,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove a key; it stops working at once."""
    key = _store(data_dir).revoke(identifier)
    _tell(data_dir, key.id, key.name, "revoked")
    print_fields({"revoked": key.id, "name": key.name}, as_json)

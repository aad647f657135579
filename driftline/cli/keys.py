"""``keys``: make, list and revoke API keys, in the file that the server on this machine reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.common import AsJson, DataDir, load_settings
from driftline.cli.output import print_fields, print_json, print_table

if TYPE_CHECKING:
    from driftline.api_keys import KeyStore

Scopes = Annotated[list[str], typer.Option("--scope", help="predict, feedback, metrics or admin; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
    keys.command("list")(list_keys)
    for command in (create, revoke):
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
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is printed this once: only its hash is kept."""
    token = _store(data_dir).create(scope, name)
    _tell(data_dir, token.partition(".")[0], name, "made")
    print_json({"key": token}) if as_json else print(token)


def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Every key, without its secret."""
    rows = [
        {"id": key.id, "name": key.name, "scopes": ", ".join(key.scopes), "created": key.created}
        for key in _store(data_dir).list()
    ]
    empty = "there is no key; make one: driftline keys create --scope admin"
    print_table(rows, ("id", "name", "scopes", "created"), as_json, empty=empty)


def revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The part of the key before the dot.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove a key; it stops working at once."""
    key = _store(data_dir).revoke(identifier)
    _tell(data_dir, key.id, key.name, "revoked")
    print_fields({"revoked": key.id, "name": key.name}, as_json)

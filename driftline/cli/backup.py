"""``backup`` and ``restore``: a consistent copy of everything, and its return into a store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.common import AsJson, DataDir, load_settings
from driftline.cli.output import busy, print_json, print_table
from driftline.errors import ConfigurationError

if TYPE_CHECKING:
    from driftline.settings import Settings
    from driftline.store.artifacts import Artifacts
    from driftline.store.backup import Index
    from driftline.store.connection import RedisConnection

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the backup.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (backup, restore):
        app.command()(command)


def backup(
    folder: Folder,
    with_predictions: Annotated[
        bool, typer.Option("--predictions", help="Also recorded predictions, for labels that come later.")
    ] = False,
    with_keys: Annotated[bool, typer.Option("--keys", help="Also the API keys, as hashes.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Copy every model into DIR, a new folder, while everything goes on."""
    from driftline.store.backup import back_up

    settings = load_settings(data_dir=data_dir)
    if settings.redis_url is None and not (settings.data_dir / "valkey").is_dir():
        raise ConfigurationError(
            f"there is nothing to back up in {settings.data_dir}; name the data directory with --data-dir, "
            "or set DRIFTLINE_REDIS_URL"
        )
    api_keys = settings.keys_path if with_keys else None

    async def copy(connection: RedisConnection, artifacts: Artifacts) -> Index:
        return await back_up(connection, artifacts, folder, with_predictions=with_predictions, api_keys=api_keys)

    with busy("copying every model"):
        index = _with_store(settings, copy)
    _print(index, folder, "backup", as_json)


def restore(
    folder: Folder,
    is_replacing: Annotated[
        bool, typer.Option("--replace", help="Put the backup's models in the place of those with their names.")
    ] = False,
    with_keys: Annotated[bool, typer.Option("--keys", help="Also the API keys, if the backup has them.")] = False,
    takes_plain: Annotated[
        bool, typer.Option("--plain", help="Also where there are encryption keys, and the backup is not encrypted.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Bring the models of the backup DIR into the store and the data directory."""
    from driftline.store import backup as store
    from driftline.store.encryption_keys import encryption_of

    settings = load_settings(data_dir=data_dir)
    api_keys = settings.keys_path if with_keys else None
    # Checked first, so that no server is started for a folder that is not a backup, or that no key here can read.
    store.read_index(folder, encryption_of(settings), takes_plain=takes_plain)

    async def bring(connection: RedisConnection, artifacts: Artifacts) -> Index:
        return await store.restore(
            connection,
            artifacts,
            folder,
            replace=is_replacing,
            takes_plain=takes_plain,
            api_keys=api_keys,
            forget_seconds=2 * settings.poll_seconds,
        )

    with busy("bringing every model back"):
        index = _with_store(settings, bring)
    _print(index, folder, "restored", as_json)


def _with_store(settings: Settings, work: Callable[[RedisConnection, Artifacts], Awaitable[Index]]) -> Index:
    from driftline.processes.plan import store_url
    from driftline.store.artifact_place import open_artifacts
    from driftline.store.connection import RedisConnection

    async def run(url: str) -> Index:
        connection = RedisConnection(url, settings.prefix)
        try:
            return await work(connection, open_artifacts(settings))
        finally:
            await connection.close()

    with store_url(settings) as url:
        return asyncio.run(run(url))


def _print(index: Index, folder: Path, what: str, as_json: bool) -> None:
    rows = [
        {"name": model.name, "version": model.version, "learned": model.learned, "bytes": model.bytes}
        for model in index.models
    ]
    if as_json:
        print_json({what: str(folder), "models": rows})
        return
    print_table(rows, ("name", "version", "learned", "bytes"), False, empty="there is no model")
    print(f"{len(rows)} model{'' if len(rows) == 1 else 's'} {_DONE[what]} {folder}")


_DONE = {"backup": "backed up in", "restored": "restored from"}

"""``encrypt``: artifacts that are there already are encrypted too, or by a newer key."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from driftline.cli.common import AsJson, DataDir, load_settings
from driftline.cli.output import busy, print_json
from driftline.errors import ConfigurationError, CorruptData


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(encrypt)


def encrypt(
    is_undone: Annotated[
        bool, typer.Option("--undo", help="Decrypt them instead, before the keys are taken away.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt all artifacts that are plain, or encrypted by a former key, by the first key, while everything goes on."""
    from driftline.store.artifact_place import open_artifacts
    from driftline.store.re_encryption import re_encrypt
    from driftline.support.formatting import count_text, size_text

    artifacts = open_artifacts(load_settings(data_dir=data_dir))
    if not artifacts.encryption.names:
        raise ConfigurationError(
            "there is no encryption key: set DRIFTLINE_ENCRYPTION_KEY_FILE or DRIFTLINE_ENCRYPTION_KEY_COMMAND, as servers and "
            "workers have it",
            field="encryption_key_file",
        )
    if is_undone:
        artifacts.encryption = artifacts.encryption.without_writing()
    with busy("writing files again"):
        done = re_encrypt(artifacts)
    if as_json:
        print_json({"key": artifacts.encryption.writing, **asdict(done)})
    else:
        by = "plain" if is_undone else f"encrypted by the key `{artifacts.encryption.writing}`"
        print(
            f"{count_text(done.written, 'file')} of {done.files} written again ({size_text(done.bytes)}): they are {by}"
        )
    if done.left:
        raise CorruptData(f"{count_text(len(done.left), 'file')} left as they are: {'; '.join(done.left[:10])}")

"""What is stored is for its owner alone to read, and no secret is ever printed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from driftline.api_keys import KeyStore
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.store.artifacts import Artifacts
from driftline.store.backup import format as backup
from driftline.store.connection import RedisConnection
from driftline.store.encryption import Encryption
from driftline.store.format import mark
from tests import forked

SECRET = "Zq7#Wx9/Ky3?"


@pytest.mark.parametrize("command", [["worker"], ["serve", "--port", "0"], ["doctor"]])
def test_no_process_prints_a_part_of_a_password(command: list[str], tmp_path: Path) -> None:
    url = f"redis://h?password={SECRET}@127.0.0.1:1"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    named = {"DRIFTLINE_REDIS_URL": url, "DRIFTLINE_DATA_DIR": str(tmp_path)}
    ended = forked.run(["-P", "-m", "driftline.cli", *command], clean | named, tmp_path)
    assert ended.returncode != 0 and "cannot be read" in ended.stdout + ended.stderr
    assert not any(part in ended.stdout + ended.stderr for part in ("Zq7", "Wx9", "Ky3"))


def others_may(folder: Path) -> list[str]:
    """What others than the owner may use in a folder that they may enter."""
    paths = [folder, *folder.rglob("*")]
    return [str(path) for path in paths if not path.is_socket() and stat.S_IMODE(path.stat().st_mode) & 0o077]


def keys(folder: Path) -> None:
    KeyStore(folder / "keys.json").create(["admin"])


def artifacts(folder: Path) -> None:
    blobs = Artifacts(folder / "artifacts")
    assert blobs.are_of("store")
    blobs.put("uid", b"weights")


def a_backup(folder: Path) -> None:
    backup.write_file(folder / "models" / "m" / "artifacts" / "0", b"weights", Encryption())
    backup.append_pieces(folder / "models" / "m" / "keys", [backup.Text(b"k", b"v")], Encryption())
    backup.settle(folder / "models" / "m" / "keys")


def an_embedded_store(folder: Path) -> None:
    with Guard() as guard:
        server = EmbeddedServer(folder, guard)
        server.start()
        assert others_may(folder) == [], "also while it runs"
        server.stop()
    assert {path.name for path in (folder / "valkey").iterdir()} >= {"lock", "valkey.log", "appendonlydir"}


@pytest.mark.parametrize("made", [keys, artifacts, a_backup, an_embedded_store])
def test_what_is_written_is_for_its_owner_alone(made: Callable[[Path], None], tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made(tmp_path / "deep" / "data")
    finally:
        os.umask(before)
    assert others_may(tmp_path / "deep") == []


@pytest.mark.anyio
async def test_what_an_earlier_release_left_open_is_closed(connection: RedisConnection, tmp_path: Path) -> None:
    for name in ("artifacts", "valkey"):
        (tmp_path / name).mkdir(mode=0o755)
    await mark(connection, tmp_path)
    an_embedded_store(tmp_path)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("artifacts", "valkey")} == {0o700}

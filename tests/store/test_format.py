"""Data of a newer Driftline is refused at the start, wherever its format stands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from redis import Redis

from driftline.errors import ConfigurationError
from driftline.networks import bundle
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.records import MANIFEST_FORMAT, STATE_FORMAT, STORE_FORMAT
from driftline.store.artifacts import Artifacts
from driftline.store.catalog import Catalog
from driftline.store.commits import Version
from driftline.store.connection import RedisConnection
from driftline.store.encryption import Encryption, EncryptionKey
from driftline.store.format import check_files, check_store, mark
from driftline.store.redis_keys import new_uid
from tests import forked
from tests.ports import free_port
from tests.store.conftest import SPEC

pytestmark = pytest.mark.anyio

NEWER = "written by a newer Driftline (format 7; this one reads up to"


def manifest(uid: str, number: int, state: int = STATE_FORMAT) -> bytes:
    return msgspec.json.encode(
        bundle.Manifest(
            format=number,
            kind="version",
            model=uid,
            step=0,
            offset=0,
            spec=SPEC,
            classes=[0, 1],
            created=0.0,
            data={"format": state},
            files={},
        )
    )


async def model(connection: RedisConnection, data_dir: Path, number: int, state: int = STATE_FORMAT) -> None:
    """A model whose live version has a manifest of that format."""
    uid = new_uid()
    digest = Artifacts(data_dir / "artifacts").put(uid, manifest(uid, number, state))
    await Catalog(connection).create(uid, SPEC, Version(1, digest, None, 0, 0, 0.0, "created"))


async def test_data_of_this_format_and_data_without_a_mark_is_taken_and_marked(
    connection: RedisConnection, data_dir: Path
) -> None:
    await model(connection, data_dir, MANIFEST_FORMAT)
    for _ in range(2):
        check_files(data_dir)
        await check_store(connection, data_dir)
        await mark(connection, data_dir)
    assert await connection.redis.get(connection.keys.format) == str(STORE_FORMAT).encode()
    assert (data_dir / "format").read_text() == f"{STORE_FORMAT}\n"


async def test_a_newer_format_is_refused_by_key_by_file_and_by_manifest(
    connection: RedisConnection, data_dir: Path
) -> None:
    await model(connection, data_dir, 7)
    with pytest.raises(ConfigurationError, match=r"format 7; this one reads up to \d\): install"):
        await check_store(connection, data_dir)
    await connection.redis.set(connection.keys.format, 7)
    with pytest.raises(ConfigurationError) as refused:
        await check_store(connection, data_dir / "other")
    assert connection.keys.prefix in refused.value.message
    await mark(connection, data_dir)
    assert await connection.redis.get(connection.keys.format) == b"7", "a mark is never overwritten"
    (data_dir / "format").write_text("7\n")
    with pytest.raises(ConfigurationError) as refused:
        check_files(data_dir)
    assert NEWER in refused.value.message and str(data_dir) in refused.value.message


async def test_a_checkpoint_of_a_newer_state_is_refused(connection: RedisConnection, data_dir: Path) -> None:
    await model(connection, data_dir, MANIFEST_FORMAT, state=STATE_FORMAT)
    await check_store(connection, data_dir)
    await Catalog(connection).delete(str(SPEC["name"]))
    await model(connection, data_dir, MANIFEST_FORMAT, state=7)
    with pytest.raises(ConfigurationError, match=f"format 7; this one reads up to {STATE_FORMAT}"):
        await check_store(connection, data_dir)


async def test_a_manifest_that_is_missing_or_damaged_is_not_the_check_s_to_tell(
    connection: RedisConnection, data_dir: Path
) -> None:
    uid = new_uid()
    await Catalog(connection).create(uid, SPEC, Version(1, "0" * 64, None, 0, 0, 0.0, "created"))
    await check_store(connection, data_dir)


async def test_models_of_a_key_that_is_not_here_are_refused_before_anything_is_served(
    connection: RedisConnection, data_dir: Path
) -> None:
    key, other = EncryptionKey("ours", b"o" * 32), EncryptionKey("theirs", b"t" * 32)
    place = data_dir / "artifacts"
    uid = new_uid()
    digest = Artifacts(place, Encryption([key])).put(uid, msgspec.json.encode({"format": MANIFEST_FORMAT}))
    await Catalog(connection).create(uid, SPEC, Version(1, digest, None, 0, 0, 0.0, "created"))
    await check_store(connection, data_dir, Artifacts(place, Encryption([other, key])))
    for encryption in (Encryption(), Encryption([other])):
        with pytest.raises(ConfigurationError, match=f"is encrypted by the key `{key.name}`"):
            await check_store(connection, data_dir, Artifacts(place, encryption))


def run(command: str, data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    arguments = ["-P", "-m", "driftline.cli", *command.split(), "--data-dir", str(data_dir)]
    return forked.run(arguments, clean | environment, Path("/"))


@pytest.mark.parametrize("command", ["up --port {}", "serve --port {}", "serve --replicas 2 --port {}", "worker"])
async def test_every_process_ends_before_it_serves_or_learns_newer_data(
    connection: RedisConnection, store_url: str, data_dir: Path, command: str
) -> None:
    await connection.redis.set(connection.keys.format, 7)
    port = str(free_port())
    prefix = connection.keys.prefix
    ended = run(command.format(port), data_dir, DRIFTLINE_REDIS_URL=store_url, DRIFTLINE_PREFIX=prefix)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"driftline: the data in {data_dir} and in its store" in ended.stderr and NEWER in ended.stderr
    assert "Traceback" not in ended.stderr and "started, process" not in ended.stderr
    assert not (data_dir / "artifacts").exists(), "nothing was written"


def test_up_with_its_own_server_looks_into_the_server_before_anything_else_is_started(data_dir: Path) -> None:

    with Guard() as guard:
        server = EmbeddedServer(data_dir, guard)
        server.start()
        with Redis.from_url(server.url) as client:
            client.set("driftline:format", 7)
        server.stop()
    ended = run(f"up --port {free_port()}", data_dir)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert NEWER in ended.stderr and "worker started" not in ended.stderr and "app started" not in ended.stderr

"""A backup is one point of each model; a restore is all of it or nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import _GeneratorContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from driftline.errors import ConfigurationError, Conflict, CorruptData, InvalidInput, Unavailable
from driftline.records import Command, Plan
from driftline.store.artifacts import Artifacts
from driftline.store.backup import back_up, copy, format, read_index, restore
from driftline.store.blobs import BlobReader
from driftline.store.catalog import Catalog
from driftline.store.commits import Checkpoint, Commit, CommitLog, Step, Version
from driftline.store.connection import RedisConnection
from driftline.store.encryption import Encryption, EncryptionKey
from driftline.store.events import EventRecord
from driftline.store.lease import Lease
from driftline.store.log import Log
from driftline.store.redis_keys import NOUNS, new_uid
from driftline.store.scores import Bucket
from driftline.store.watermarks import Cap
from tests.heartbeats import alive
from tests.store.conftest import SPEC, item
from tests.waiting import until_async

pytestmark = pytest.mark.anyio


class Model:
    """A model with a log, steps, versions, a checkpoint and a command that waits."""

    def __init__(self, connection: RedisConnection, artifacts: Artifacts, uid: str) -> None:
        self.connection, self.artifacts, self.uid = connection, artifacts, uid
        self.keys = connection.keys.of(uid)
        self.log = Log(connection, uid, cap=Cap(1000), receipt_seconds=3600)
        self.commit_log = CommitLog(connection, uid)

    def version(self, number: int, step: int, offset: int) -> Version:
        return Version(number, self.manifest(f"weights {number}"), number - 1, step, offset, time.time(), "promoted")

    def manifest(self, content: str) -> str:
        digest = self.artifacts.put(self.uid, content.encode())
        manifest = {"model": self.uid, "files": {"weights": {"sha256": digest, "bytes": len(content)}}}
        return self.artifacts.put(self.uid, json.dumps(manifest).encode())

    async def live(self, steps: int = 3) -> None:
        """Two labels and a version a step, a checkpoint at the last but one, two labels and a command that wait."""
        await Catalog(self.connection).create(self.uid, SPEC, self.version(1, 0, 0))
        self.lease = Lease(self.connection, self.uid, "owner")
        await self.lease.acquire()
        for k in range(1, steps + 1):
            await self.log.append([item(f"i{2 * k - 1}"), item(f"i{2 * k}")])
            step = Step(k, 2 * k - 2, 2 * k, Plan(updates=1), "digest", k + 1)
            await self.commit_log.commit(
                Commit(
                    *(step, self.lease.epoch, f"t{k}", 2, self.version(k + 1, k, 2 * k)),
                    metrics={"count": 2 * k},
                    events=[EventRecord("version", f"version {k + 1} is live", version=k + 1)],
                    alarms={"drift": {"kind": "drift", "features": []}} if k == 1 else {},
                    buckets={"minutes": [Bucket(60 * k)]},
                )
            )
            if k == steps - 1:
                await self.commit_log.checkpoint(Checkpoint(self.manifest("state"), k, 2 * k), self.lease.epoch, 1000)
        await self.log.append([item("waits"), Command("c", "pause"), item("waits too")])
        await self.connection.redis.xadd(self.keys.predictions("nonce"), {"b": b"batch"}, id="7-1")
        await self.connection.redis.expire(self.keys.predictions("nonce"), 1000)

    async def content(self) -> dict[bytes, Any]:
        """Everything that is kept of it in Redis."""
        redis = self.connection.redis
        read: dict[bytes, Callable[[bytes], Any]] = {
            b"hash": redis.hgetall,
            b"string": redis.get,
            b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
            b"stream": redis.xrange,
        }
        found = [key async for key in redis.scan_iter(f"{self.keys.base}*")]
        return {key: await read[await redis.type(key)](key) for key in found}


@pytest.fixture
def artifacts(data_dir: Path) -> Artifacts:
    return Artifacts(data_dir / "artifacts")


@pytest.fixture
async def model(connection: RedisConnection, artifacts: Artifacts) -> Model:
    model = Model(connection, artifacts, new_uid())
    await model.live()
    return model


@pytest.fixture
def elsewhere(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "elsewhere" / "artifacts")


async def wipe(connection: RedisConnection) -> None:
    """Empties the store, and makes it a new one to this connection."""
    connection.store_id = None
    for key in await keys_left(connection):
        await connection.redis.delete(key)


async def keys_left(connection: RedisConnection) -> list[bytes]:
    return [key async for key in connection.redis.scan_iter(f"{connection.keys.prefix}*")]


def test_every_key_of_a_model_is_copied_but_the_lease_and_former_checkpoints() -> None:
    assert set(format.KINDS) == set(NOUNS) - {"lease", "checkpoints"}
    assert set(format.KINDS.values()) == set(copy._READ)


async def test_what_is_restored_is_what_was_there(
    connection: RedisConnection, model: Model, artifacts: Artifacts, elsewhere: Artifacts, tmp_path: Path
) -> None:
    before = await model.content()
    await back_up(connection, artifacts, tmp_path / "b", with_predictions=True)
    await wipe(connection)
    await restore(connection, elsewhere, tmp_path / "b")
    after = await model.content()
    assert await Catalog(connection).names() == {"weather": model.uid}

    meta, epoch, lease = (getattr(model.keys, noun).encode() for noun in ("meta", "epoch", "lease"))
    assert before.pop(lease) == b"owner" and lease not in after
    assert before.pop(model.keys.checkpoints.encode()), "former checkpoints are not copied"
    assert int(after.pop(epoch)) > int(before.pop(epoch))
    old, new = before.pop(meta), after.pop(meta)
    assert old.pop(b"log_id") != new.pop(b"log_id") and old == new
    assert after == before
    assert sorted(path.name for path in (elsewhere.root / model.uid).iterdir()) == sorted(
        path.name for path in (artifacts.root / model.uid).iterdir()
    )
    assert 0 < await connection.redis.pttl(model.keys.item("i1")) <= 3600_000
    assert 0 < await connection.redis.pttl(model.keys.predictions("nonce")) <= 1000_000
    assert [receipt.status for receipt in await model.log.append([item("i1"), item("new")])] == ["duplicate", "queued"]


async def test_a_former_owner_is_fenced(
    connection: RedisConnection, model: Model, artifacts: Artifacts, elsewhere: Artifacts, tmp_path: Path
) -> None:
    await back_up(connection, artifacts, tmp_path / "b")
    await wipe(connection)
    await restore(connection, elsewhere, tmp_path / "b")
    assert not await model.lease.is_held()


async def test_predictions_and_api_keys_are_copied_only_when_asked(
    connection: RedisConnection, model: Model, artifacts: Artifacts, tmp_path: Path
) -> None:
    (tmp_path / "keys.json").write_text("{}")
    plain = await back_up(connection, artifacts, tmp_path / "plain")
    assert plain.api_keys is None and format.PREDICTIONS not in plain.models[0].files
    full = await back_up(
        connection, artifacts, tmp_path / "full", with_predictions=True, api_keys=tmp_path / "keys.json"
    )
    assert full.api_keys is not None and format.PREDICTIONS in full.models[0].files
    assert (tmp_path / "full" / "keys.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict, match="holds no API keys"):
        await restore(connection, artifacts, tmp_path / "plain", replace=True, api_keys=tmp_path / "new.json")
    await wipe(connection)
    with pytest.raises(Conflict, match="already"):
        await restore(connection, artifacts, tmp_path / "full", api_keys=tmp_path / "keys.json")
    assert await Catalog(connection).names() == {}
    await restore(connection, artifacts, tmp_path / "full", api_keys=tmp_path / "new.json")
    assert (tmp_path / "new.json").read_text() == "{}"


class Meanwhile(Artifacts):
    """Artifacts at whose first reads something else happens."""

    def __init__(self, root: Path, happens: Callable[[], None], times: int = 1) -> None:
        super().__init__(root)
        self.happens, self.times = happens, times

    def reading(self, uid: str, digest: str) -> _GeneratorContextManager[BlobReader]:
        if self.times:
            self.times -= 1
            self.happens()
        return super().reading(uid, digest)


def elsewhere_in_time(url: str, prefix: str, uid: str, work: Callable[[Model], Any], root: Path) -> Callable[[], None]:
    """Does something to a model from another process's point of view."""

    async def run() -> None:
        connection = RedisConnection(url, prefix)
        try:
            await work(Model(connection, Artifacts(root), uid))
        finally:
            await connection.close()

    return lambda: asyncio.run(run())


async def test_what_comes_after_the_point_is_not_in_the_backup(
    connection: RedisConnection, redis_url: str, prefix: str, model: Model, artifacts: Artifacts, tmp_path: Path
) -> None:
    async def goes_on(other: Model) -> None:
        await other.log.append([item("later")])
        await other.connection.redis.hset(other.keys.alarms, "late", "{}")

    happens = elsewhere_in_time(redis_url, prefix, model.uid, goes_on, artifacts.root)
    index = await back_up(connection, Meanwhile(artifacts.root, happens), tmp_path / "b")
    assert index.models[0].last == 9
    await wipe(connection)
    await restore(connection, artifacts, tmp_path / "b")
    assert (await model.log.read(0, 100))[-1].n == 9
    assert await model.log.find("waits too") and not await model.log.find("later")
    (receipt,) = await model.log.append([item("later")])
    assert (receipt.status, receipt.n) == ("queued", 10), "a resend must not be taken for one that is there"


async def trimmed(other: Model) -> None:
    await other.log.append([item("later")])
    await other.connection.redis.xtrim(other.keys.log, minid="4-0", approximate=False)


async def retired(other: Model) -> None:
    await other.log.append([item("later")])
    await other.commit_log.retire([1])
    (first,) = [path for path in (other.artifacts.root / other.uid).iterdir() if path.read_bytes() == b"weights 1"]
    first.unlink()


@pytest.mark.parametrize("happens", [trimmed, retired])
async def test_a_model_that_overtakes_its_copy_is_taken_again(
    connection: RedisConnection,
    redis_url: str,
    prefix: str,
    model: Model,
    artifacts: Artifacts,
    tmp_path: Path,
    happens: Callable[[Model], Any],
) -> None:
    action = elsewhere_in_time(redis_url, prefix, model.uid, happens, artifacts.root)
    index = await back_up(connection, Meanwhile(artifacts.root, action), tmp_path / "b")
    kept, versions = await connection.redis.xrange(model.keys.log), await model.commit_log.versions()
    await wipe(connection)
    await restore(connection, artifacts, tmp_path / "b")
    assert index.models[0].last == 10
    assert await connection.redis.xrange(model.keys.log) == kept
    assert await model.commit_log.versions() == versions
    files = {path.name for path in (tmp_path / "b/models/weather/artifacts").iterdir()}
    assert files == set(index.models[0].artifacts)


async def test_a_blob_that_is_missing_for_good_is_named_and_leaves_no_backup(
    connection: RedisConnection, model: Model, artifacts: Artifacts, tmp_path: Path
) -> None:
    head = await model.commit_log.head()
    (artifacts.root / model.uid / head.manifest).unlink()
    with pytest.raises(Unavailable, match=head.manifest):
        await back_up(connection, artifacts, tmp_path / "b", retry_seconds=0.0)
    assert list((tmp_path / "b").iterdir()) == []


async def test_a_backup_needs_an_empty_folder(
    connection: RedisConnection, artifacts: Artifacts, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_text("mine")
    with pytest.raises(Conflict, match="not an empty folder"):
        await back_up(connection, artifacts, tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["mine"]


async def test_without_its_index_a_folder_is_no_backup(
    connection: RedisConnection, model: Model, artifacts: Artifacts, tmp_path: Path
) -> None:
    await back_up(connection, artifacts, tmp_path / "b")
    index = json.loads((tmp_path / "b/index.json").read_text())
    (tmp_path / "b/index.json").write_text(json.dumps(index | {"format": 2}))
    with pytest.raises(CorruptData, match="format 2"):
        read_index(tmp_path / "b", Encryption())
    (tmp_path / "b/index.json").write_text("{")
    with pytest.raises(CorruptData, match="damaged"):
        read_index(tmp_path / "b", Encryption())
    (tmp_path / "b/index.json").unlink()
    with pytest.raises(InvalidInput, match="not a backup"):
        read_index(tmp_path / "b", Encryption())


async def test_where_there_are_keys_a_plain_backup_is_restored_only_by_name(
    connection: RedisConnection, model: Model, artifacts: Artifacts, elsewhere: Artifacts, tmp_path: Path
) -> None:
    index = await back_up(connection, artifacts, tmp_path / "b")
    await wipe(connection)
    elsewhere.encryption = Encryption([EncryptionKey("2026", b"o" * 32)])
    with pytest.raises(InvalidInput, match="is not encrypted, and there are encryption keys"):
        await restore(connection, elsewhere, tmp_path / "b")
    assert await keys_left(connection) == []
    assert await restore(connection, elsewhere, tmp_path / "b", takes_plain=True) == index


async def test_a_forged_backup_with_the_sha256_of_no_pieces_changes_nothing(
    connection: RedisConnection, model: Model, artifacts: Artifacts, tmp_path: Path
) -> None:
    index = await back_up(connection, artifacts, tmp_path / "b")
    (saved,) = index.models
    path = tmp_path / "b" / saved.folder / format.KEYS
    path.write_bytes(path.read_bytes() + bytes([0, 0, 0, 9, 1]))
    forged = msgspec.structs.replace(saved, files={**saved.files, format.KEYS: format.measure(path)})
    format.write_index(tmp_path / "b", msgspec.structs.replace(index, models=[forged]), Encryption())
    before = await model.content()
    with pytest.raises(CorruptData, match=r"keys\.msgpack is damaged"):
        await restore(connection, artifacts, tmp_path / "b", replace=True)
    assert await model.content() == before


async def test_a_backup_is_encrypted_as_artifacts_are_and_needs_the_key_before_anything_is_changed(
    connection: RedisConnection, model: Model, artifacts: Artifacts, elsewhere: Artifacts, tmp_path: Path
) -> None:
    key, newer = EncryptionKey("2026", b"o" * 32), EncryptionKey("2027", b"n" * 32)
    (tmp_path / "keys").write_text("hashes")
    artifacts.encryption = Encryption([key])
    index = await back_up(connection, artifacts, tmp_path / "b", with_predictions=True, api_keys=tmp_path / "keys")
    files = [path for path in (tmp_path / "b").rglob("*") if path.is_file()]
    said = b"".join(path.read_bytes() for path in files)
    assert len(files) > 5 and said.count(b"2026") >= len(files)
    assert not any(word in said for word in (b"weather", b"waits too", b"hashes", b'"format"', b"manifest"))
    model_content = await model.content()
    await wipe(connection)
    for encryption in (Encryption(), Encryption([newer])):
        elsewhere.encryption = encryption
        with pytest.raises(ConfigurationError, match=f"is encrypted by the key `{key.name}`"):
            await restore(connection, elsewhere, tmp_path / "b")
    assert await keys_left(connection) == [] and not elsewhere.root.exists()
    elsewhere.encryption = Encryption([newer, key])
    assert await restore(connection, elsewhere, tmp_path / "b", api_keys=tmp_path / "restored") == index
    assert (tmp_path / "restored").read_text() == "hashes"
    restored = await model.content()
    copied = [key.encode() for key in (model.keys.log, model.keys.steps, model.keys.head, model.keys.versions)]
    assert [restored[key] for key in copied] == [model_content[key] for key in copied]
    assert all(elsewhere.key_of(model.uid, blob) == newer.name for blob in elsewhere.stored(model.uid))


async def test_a_piece_of_an_encrypted_backup_that_is_missing_or_moved_is_told(
    connection: RedisConnection, model: Model, artifacts: Artifacts, elsewhere: Artifacts, tmp_path: Path
) -> None:
    elsewhere.encryption = artifacts.encryption = Encryption([EncryptionKey("2026", b"o" * 32)])
    await back_up(connection, artifacts, tmp_path / "b")
    path = tmp_path / "b" / "models" / "weather" / format.KEYS
    data = path.read_bytes()
    first = 4 + int.from_bytes(data[:4], "big")
    for wrong in (data[first:] + data[:first], data[first:], data[:first], data + data[:first]):
        path.write_bytes(wrong)
        with pytest.raises(CorruptData, match="is damaged"):
            await restore(connection, elsewhere, tmp_path / "b", replace=True)
    index = (tmp_path / "b" / "index.json").read_bytes()
    (tmp_path / "b" / "index.json").write_bytes(index[:-1] + bytes([index[-1] ^ 1]))
    with pytest.raises(CorruptData, match=r"index\.json is damaged"):
        await restore(connection, elsewhere, tmp_path / "b")
    assert not elsewhere.root.exists()


@pytest.mark.parametrize("name", [format.KEYS, format.RECEIPTS, "artifacts"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
async def test_a_damaged_file_is_named_and_nothing_is_written(
    connection: RedisConnection,
    model: Model,
    artifacts: Artifacts,
    elsewhere: Artifacts,
    tmp_path: Path,
    name: str,
    harm: str,
) -> None:
    await back_up(connection, artifacts, tmp_path / "b")
    await wipe(connection)
    path = tmp_path / "b/models/weather" / name
    path = max(path.iterdir()) if path.is_dir() else path
    data = path.read_bytes()
    path.write_bytes(data[:-1] if harm == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    if harm == "remove":
        path.unlink()
    with pytest.raises(CorruptData, match=path.name):
        await restore(connection, elsewhere, tmp_path / "b")
    assert await keys_left(connection) == [] and not elsewhere.root.exists()


async def test_a_name_that_is_taken_is_left_alone_unless_it_is_to_be_replaced(
    connection: RedisConnection, model: Model, artifacts: Artifacts, tmp_path: Path
) -> None:
    await back_up(connection, artifacts, tmp_path / "b")
    await wipe(connection)
    other = Model(connection, artifacts, new_uid())
    await other.live(1)
    await connection.redis.delete(other.keys.lease)
    before = await other.content()
    with pytest.raises(Conflict, match="--replace"):
        await restore(connection, artifacts, tmp_path / "b")
    assert await other.content() == before
    await restore(connection, artifacts, tmp_path / "b", replace=True)
    assert await Catalog(connection).names() == {"weather": model.uid}
    assert (await model.commit_log.head()).version == 4
    assert set(await other.content()) <= {other.keys.epoch.encode()}
    assert not (artifacts.root / other.uid).exists()


async def test_a_model_takes_its_own_place_once_its_owner_has_let_go(
    connection: RedisConnection, model: Model, artifacts: Artifacts, tmp_path: Path
) -> None:
    await back_up(connection, artifacts, tmp_path / "b")
    await alive(connection, model.lease.owner)
    await model.log.append([item("later")])
    epoch = int(await connection.redis.get(model.keys.epoch))
    restoring = asyncio.create_task(restore(connection, artifacts, tmp_path / "b", replace=True))

    async def is_gone() -> bool:
        return await Catalog(connection).names() == {}

    await until_async(is_gone)
    await asyncio.sleep(0.3)
    assert not restoring.done() and await is_gone()
    artifacts.remove(model.uid)  # as an owner does that finds its model gone
    await model.lease.release()
    await restoring
    assert int(await connection.redis.get(model.keys.epoch)) > epoch
    assert [receipt.status for receipt in await model.log.append([item("waits"), item("later")])] == [
        "duplicate",
        "queued",
    ]
    for version in await model.commit_log.versions():
        assert artifacts.get(model.uid, version.manifest)


async def test_an_interrupted_restore_leaves_no_model_and_can_be_repeated(
    connection: RedisConnection, redis_url: str, prefix: str, model: Model, artifacts: Artifacts, tmp_path: Path
) -> None:
    before = await model.content()
    await back_up(connection, artifacts, tmp_path / "b", with_predictions=True)
    await wipe(connection)
    program = textwrap.dedent(
        """
        import asyncio, os, signal, sys
        from pathlib import Path
        from redis.asyncio import Redis, RedisCluster
        from driftline.store.artifacts import Artifacts
        from driftline.store.backup.restore import restore
        from driftline.store.connection import RedisConnection
        hsetnx = Redis.hsetnx
        def or_die(client, table, field, value):
            if field == "weather":
                os.kill(os.getpid(), signal.SIGKILL)
            return hsetnx(client, table, field, value)
        Redis.hsetnx = RedisCluster.hsetnx = or_die
        async def run(url, prefix, folder, root):
            await restore(RedisConnection(url, prefix), Artifacts(Path(root)), Path(folder))
        asyncio.run(run(*sys.argv[1:]))
        """
    )
    command = [sys.executable, "-c", program, redis_url, prefix, str(tmp_path / "b"), str(artifacts.root)]
    killed = await asyncio.to_thread(subprocess.run, command, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert await keys_left(connection), "it had written what comes before the name"
    assert await Catalog(connection).names() == {}
    await connection.redis.set(model.keys.item("stale"), "99:x")
    await restore(connection, artifacts, tmp_path / "b")
    assert await Catalog(connection).names() == {"weather": model.uid}
    after = await model.content()
    assert set(after) == set(before) - {model.keys.lease.encode(), model.keys.checkpoints.encode()}

"""Artifacts in an object store: what the folder promises, and a cache that is bounded and never more than a copy."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from driftline.errors import ConfigurationError, CorruptData, Unavailable
from driftline.settings import Settings
from driftline.store.artifact_place import open_artifacts
from driftline.store.artifacts import Artifacts
from driftline.store.backup import back_up, restore
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.encryption import HEADER_BYTES, Encryption, EncryptionKey, key_name
from driftline.store.object_artifacts import ObjectArtifacts
from driftline.store.re_encryption import other_keys, re_encrypt
from driftline.store.redis_keys import new_uid
from tests.store.test_backup import Model

LARGE = b"w" * (17 * 2**20)


class Counted:
    """An object store that counts its calls."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.store, name)

    def content(self, uid: str) -> dict[str, bytes]:
        found = self.store.list(f"{uid}/" if uid else None).collect()
        names = [each["path"].removeprefix(f"{uid}/") for each in found]
        return {name: bytes(self.store.get(each["path"]).bytes()) for name, each in zip(names, found, strict=True)}


@pytest.fixture
def store() -> Counted:
    return Counted()


def opened(
    store: Counted, cache: Path, cache_bytes: int = 2**30, encryption: Encryption | None = None
) -> ObjectArtifacts:
    return ObjectArtifacts("s3://bucket/prefix", store, cache, cache_bytes, encryption)  # type: ignore[arg-type]


@pytest.fixture
def artifacts(store: Counted, tmp_path: Path) -> ObjectArtifacts:
    return opened(store, tmp_path / "cache")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_objects_and_their_copies_are_encrypted_and_written_again_by_another_key(
    store: Counted, tmp_path: Path
) -> None:
    key, newer = EncryptionKey("2026", b"o" * 32), EncryptionKey("2027", b"n" * 32)
    plain = opened(store, tmp_path / "a").put("m", b'{"a": "manifest"}')
    ours = opened(store, tmp_path / "a", encryption=Encryption([key]))
    assert ours.get("m", plain) == b'{"a": "manifest"}'
    digest = ours.put("m", b'{"another": "manifest"}')
    ours.put_parts("m", sha256(LARGE), [LARGE[:9], LARGE[9:]])
    assert b"manifest" not in b"".join(path.read_bytes() for path in (tmp_path / "a").glob("*/*")), "its copy, too"
    assert b"w" * 16 not in store.content("m")[sha256(LARGE)]
    elsewhere = opened(store, tmp_path / "b", encryption=Encryption([newer, key]))
    assert elsewhere.get("m", sha256(LARGE)) == LARGE and sorted(elsewhere.texts("m")) == [
        b'{"a": "manifest"}',
        b'{"another": "manifest"}',
    ]
    store.calls.clear()
    elsewhere.put_parts("m", sha256(LARGE), [LARGE])
    assert elsewhere.put("m", b'{"another": "manifest"}') == digest
    assert store.calls.count("put") == 1, "what is there is not sent again"
    assert other_keys(elsewhere, "m") == (3, {None: 1, key.name: 2})
    done = re_encrypt(elsewhere)
    assert (done.files, done.written, done.left) == (3, 3, [])
    for name, data in store.content("m").items():
        elsewhere.check("m", name)
        assert key_name(data[:HEADER_BYTES]) == newer.name
    with pytest.raises(Unavailable, match=f"s3://bucket/prefix/m/{digest} is encrypted by the key `{newer.name}`"):
        opened(store, tmp_path / "c").get("m", digest)
    store.store.put(f"m/{digest}", store.content("m")[digest][:-1] + b"?")
    with pytest.raises(CorruptData, match="is damaged"):
        opened(store, tmp_path / "d", encryption=Encryption([newer])).get("m", digest)


def test_what_one_machine_puts_another_one_gets_and_reads_from_its_cache_from_then_on(
    store: Counted, artifacts: ObjectArtifacts, tmp_path: Path
) -> None:
    digest = artifacts.put("m", b"weights")
    artifacts.put_parts("m", sha256(LARGE), [LARGE[: 2**20], memoryview(LARGE)[2**20 :]])
    assert set(store.content("m")) == {digest, sha256(LARGE)}
    other = opened(store, tmp_path / "elsewhere")
    assert other.get("m", digest) == b"weights" and other.get("m", sha256(LARGE)) == LARGE
    store.calls.clear()
    for machine in (artifacts, other, opened(store, tmp_path / "elsewhere")):
        assert machine.get("m", digest) == b"weights" and machine.get("m", sha256(LARGE)) == LARGE
    assert store.calls == []


def test_what_is_there_is_not_sent_again(store: Counted, artifacts: ObjectArtifacts, tmp_path: Path) -> None:
    other = opened(store, tmp_path / "elsewhere")
    for machine in (artifacts, artifacts, other):
        machine.put_parts("m", sha256(LARGE), [LARGE])
        machine.put_parts("m", sha256(b"tensor"), [b"ten", b"sor"])
    assert store.calls.count("put") == 2
    assert store.calls.count("list") == 2, "one list for all tensors of a version"


def test_a_model_that_begins_as_another_one_has_its_blobs_without_sending_them(
    store: Counted, artifacts: ObjectArtifacts, tmp_path: Path
) -> None:
    artifacts.put_parts("base", sha256(LARGE), [LARGE])
    other = opened(store, tmp_path / "elsewhere")
    store.calls.clear()
    other.share("m", "base", [sha256(LARGE), sha256(b"gone")])
    other.put_parts("m", sha256(LARGE), [LARGE])
    assert "put" not in store.calls and store.content("m") == {sha256(LARGE): LARGE}
    other.remove("base")
    assert opened(store, tmp_path / "third").get("m", sha256(LARGE)) == LARGE


@pytest.mark.parametrize("data", [b"tensor", LARGE], ids=["small", "large"])
def test_a_tensor_that_is_changed_while_it_is_sent_leaves_no_object(
    store: Counted, artifacts: ObjectArtifacts, data: bytes
) -> None:
    with pytest.raises(CorruptData, match="changed while it was written to s3://bucket/prefix/m/"):
        artifacts.put_parts("m", sha256(b"other"), [data])
    assert store.content("m") == {}


@pytest.mark.parametrize("written", [b"weightz", b"weigh", b""])
def test_other_bytes_than_were_put_are_damaged_and_written_over_by_whoever_puts_them_again(
    store: Counted, artifacts: ObjectArtifacts, tmp_path: Path, written: bytes
) -> None:
    digest = artifacts.put("m", b"weights")
    store.store.put(f"m/{digest}", written)
    other = opened(store, tmp_path / "elsewhere")
    for read in (other.get, other.check, artifacts.check):
        with pytest.raises(CorruptData, match=f"s3://bucket/prefix/m/{digest} is damaged"):
            read("m", digest)
    assert artifacts.get("m", digest) == b"weights", "its copy is whole"
    other.put("m", b"weights")
    assert store.content("m") == {digest: b"weights"}


def test_a_damaged_copy_is_taken_from_the_store_again(
    store: Counted, artifacts: ObjectArtifacts, tmp_path: Path
) -> None:
    digest = artifacts.put("m", b"weights")
    (tmp_path / "cache" / "m" / digest).write_bytes(b"weightz")
    assert artifacts.get("m", digest) == b"weights"


def test_an_object_that_is_missing_is_named(artifacts: ObjectArtifacts) -> None:
    for read in (artifacts.get, artifacts.check):
        with pytest.raises(CorruptData, match="s3://bucket/prefix/m/0000 is missing"):
            read("m", "0000")


def test_only_what_nobody_refers_to_goes_and_orphans_have_their_grace(
    store: Counted, artifacts: ObjectArtifacts
) -> None:
    live, retired, orphan = (artifacts.put("m", data) for data in (b"live", b"retired", b"orphan"))
    assert artifacts.collect("m", {live}, orphan_seconds=60, retired={retired}) == 1
    assert set(store.content("m")) == {live, orphan}
    assert artifacts.collect("m", {live}, orphan_seconds=-1) == 1
    assert store.content("m") == {live: b"live"} and os.listdir(artifacts.root / "m") == [live]
    artifacts.put_parts("m", orphan, [b"orphan"])
    assert set(store.content("m")) == {live, orphan}, "it is known that it has gone"


def test_models_without_a_name_go_and_notes_do_not_count_as_models(store: Counted, artifacts: ObjectArtifacts) -> None:
    for uid in ("known", "gone"):
        artifacts.put(uid, b"weights")
    artifacts.leave_note("worker/1", "text")
    assert artifacts.are_of("store") and artifacts.are_of("store") and not artifacts.are_of("another")
    assert artifacts.abandoned({"known"}, 60) == [] and artifacts.abandoned({"known"}, -1) == ["gone"]
    artifacts.remove("gone")
    assert [model.name for model in artifacts.models()] == ["known"] and store.content("gone") == {}
    artifacts.adopt("another")
    assert artifacts.are_of("another")


def test_the_note_of_a_worker_is_there_for_every_machine_until_it_is_removed(
    store: Counted, artifacts: ObjectArtifacts, tmp_path: Path
) -> None:
    artifacts.leave_note("worker/1", "a")
    artifacts.leave_note("worker/1", "b")
    other = opened(store, tmp_path / "elsewhere")
    assert other.note_of("worker/1") == "b" and other.note_of("worker/2") is None
    other.remove_abandoned_notes(60)
    assert other.note_of("worker/1") == "b"
    other.remove_abandoned_notes(-1)
    assert artifacts.note_of("worker/1") is None
    artifacts.remove_note("worker/1")


def test_manifests_are_found_among_all_objects(artifacts: ObjectArtifacts) -> None:
    for data in (b'{"step": 1}', b"\x08weights", b"", b'{"step": 2}'):
        artifacts.put("m", data)
    assert sorted(artifacts.texts("m")) == [b'{"step": 1}', b'{"step": 2}']


def test_the_cache_keeps_what_was_used_last(store: Counted, tmp_path: Path) -> None:
    artifacts = opened(store, tmp_path / "cache", cache_bytes=1000)
    digests = [artifacts.put("m", bytes([number]) * 310) for number in range(3)]
    for age, digest in zip((300, 100, 200), digests, strict=True):
        path = tmp_path / "cache" / "m" / digest
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    newest = artifacts.put("m", b"n" * 310)
    assert set(os.listdir(tmp_path / "cache" / "m")) == {digests[1], newest}
    assert artifacts.get("m", digests[0]) == bytes(310), "an object goes on being there"


@pytest.mark.anyio
async def test_a_backup_leaves_one_object_store_and_enters_another(
    embedded: str, prefix: str, store: Counted, artifacts: ObjectArtifacts, tmp_path: Path
) -> None:
    connection = RedisConnection(embedded, prefix)
    model = Model(connection, artifacts, new_uid())
    await model.live()
    before = store.content(model.uid)
    await back_up(connection, opened(store, tmp_path / "backup machine"), tmp_path / "b")
    another = Counted()
    await restore(connection, opened(another, tmp_path / "other"), tmp_path / "b", replace=True)
    assert another.content(model.uid) == before
    assert another.content("")[".store"] == str(connection.store_id).encode()
    assert await Catalog(connection).names() == {"weather": model.uid}
    await connection.close()


def test_a_cache_that_cannot_be_written_costs_no_object(
    store: Counted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    digest = opened(store, tmp_path / "file").put("m", b"weights")
    assert store.content("m") == {digest: b"weights"} and "is not cached" in caplog.text


def test_the_setting_names_a_folder_or_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(url: str | None) -> Artifacts:
        return open_artifacts(Settings(data_dir=tmp_path, artifacts=url))

    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert place(None).root == tmp_path / "artifacts"
    assert place("file:/srv/a%20b").root == place("file:///srv/a%20b").root == Path("/srv/a b")
    assert place("s3://bucket/prefix/").place == "s3://bucket/prefix"
    for wrong in ("", "bucket", "s3:/bucket", "ftp://bucket", "file://host/srv", "file:"):
        with pytest.raises(ConfigurationError, match="DRIFTLINE_ARTIFACTS"):
            place(wrong)

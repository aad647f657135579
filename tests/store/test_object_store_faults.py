"""An S3 that is slow, fails, cuts off, lies, refuses or is full: an error to try again, or damage that is named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline.errors import CorruptData, Unavailable
from driftline.store.encryption import Encryption, EncryptionKey
from driftline.store.object_artifacts import ObjectArtifacts, open_store
from driftline.store.re_encryption import re_encrypt
from tests.object_store import BUCKET, FULL, SLOW_DOWN, FaultyStore, cut_off, error, object_store, other_bytes, slow

pytestmark = pytest.mark.tools

LARGE = bytes(range(256)) * 2**17
"""32 MiB: sent in parts."""


@pytest.fixture(scope="module")
def store(moto_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyStore]:
    with object_store(moto_server, tmp_path_factory.mktemp("moto")) as found:
        yield found


@pytest.fixture
def artifacts(store: FaultyStore, tmp_path: Path) -> ObjectArtifacts:
    url = f"s3://{BUCKET}/{tmp_path.name}"
    return ObjectArtifacts(url, open_store(url, seconds=2.0), tmp_path / "cache", 2**30)


@pytest.fixture
def elsewhere(artifacts: ObjectArtifacts, tmp_path: Path) -> ObjectArtifacts:
    """The same artifacts on a machine that has no copy of any."""
    return ObjectArtifacts(artifacts.url, open_store(artifacts.url, seconds=2.0), tmp_path / "elsewhere", 2**30)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_an_object_is_created_once_and_comes_back_on_another_machine(
    store: FaultyStore, artifacts: ObjectArtifacts, elsewhere: ObjectArtifacts
) -> None:
    digest = artifacts.put("m", b"weights")
    assert elsewhere.put("m", b"weights") == digest, "it is there already"
    artifacts.put_parts("m", sha256(LARGE), [LARGE])
    assert elsewhere.get("m", digest) == b"weights" and elsewhere.get("m", sha256(LARGE)) == LARGE
    assert {blob.name: blob.bytes for blob in elsewhere.stored("m")} == {digest: 7, sha256(LARGE): len(LARGE)}
    assert [model.name for model in elsewhere.models()] == ["m"] and elsewhere.are_of("store")
    elsewhere.remove("m")
    assert artifacts.stored("m") == []


def test_encrypted_objects_of_an_s3_come_back_and_are_written_again(
    store: FaultyStore, artifacts: ObjectArtifacts, elsewhere: ObjectArtifacts
) -> None:
    artifacts.encryption = Encryption([EncryptionKey("2026", b"o" * 32)])
    elsewhere.encryption = Encryption([EncryptionKey("2027", b"n" * 32), EncryptionKey("2026", b"o" * 32)])
    digest = artifacts.put("m", b"weights")
    artifacts.put_parts("m", sha256(LARGE), [LARGE[:8], LARGE[8:]])
    with store.failing(cut_off(times=1)):
        assert elsewhere.get("m", sha256(LARGE)) == LARGE
    assert re_encrypt(elsewhere).written == 2 and re_encrypt(elsewhere).written == 0
    elsewhere.encryption = Encryption([EncryptionKey("2027", b"n" * 32)])
    assert elsewhere.get("m", digest) == b"weights"
    elsewhere.check("m", sha256(LARGE))
    with store.failing(other_bytes), pytest.raises(CorruptData, match="is damaged"):
        elsewhere.check("m", digest)


@pytest.mark.parametrize(
    "fault",
    [
        error(503, SLOW_DOWN, times=2),
        error(500, b"", times=2),
        slow(0.3),
        cut_off(times=1),
    ],
    ids=["slow down", "500", "slow", "cut off"],
)
def test_what_passes_is_tried_again_and_nobody_sees_it(
    store: FaultyStore, artifacts: ObjectArtifacts, elsewhere: ObjectArtifacts, fault: object
) -> None:
    with store.failing(fault):  # type: ignore[arg-type]
        digest = artifacts.put("m", b"weights")
        assert elsewhere.get("m", digest) == b"weights"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error(503, SLOW_DOWN), "SlowDown: Please reduce your request rate."),
        (error(403, b"<Error><Code>AccessDenied</Code></Error>"), "AccessDenied"),
        (error(507, FULL), "QuotaExceeded: The bucket is full."),
        (error(500, b""), ""),
    ],
    ids=["slow down", "refused", "full", "500"],
)
def test_what_lasts_is_an_error_that_says_what_the_store_said_and_is_over_with_it(
    store: FaultyStore, artifacts: ObjectArtifacts, elsewhere: ObjectArtifacts, fault: object, said: str
) -> None:
    before = artifacts.put("m", b"before")
    with store.failing(fault):  # type: ignore[arg-type]
        for attempt in (
            lambda: artifacts.put("m", b"weights"),
            lambda: artifacts.put_parts("m", sha256(LARGE), [LARGE]),
            lambda: artifacts.leave_note("worker", "text"),
            lambda: elsewhere.get("m", before),
            lambda: elsewhere.note_of("worker"),
        ):
            with pytest.raises(Unavailable, match=rf"cannot (read|write|list) {artifacts.url}.*{said}") as raised:
                attempt()
            assert raised.value.code == "object_store" and "secret" not in raised.value.message
        assert artifacts.get("m", before) == b"before", "what is in the cache is read all the same"
    digest = artifacts.put("m", b"weights")
    assert elsewhere.get("m", digest) == b"weights"


def test_a_store_that_does_not_answer_or_has_no_such_bucket_is_an_error_to_try_again(
    artifacts: ObjectArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = ObjectArtifacts("s3://nowhere", open_store("s3://nowhere", seconds=1.0), tmp_path / "cache", 2**30)
    for attempt in (lambda: nowhere.put("m", b"weights"), lambda: nowhere.get("m", "0" * 64)):
        with pytest.raises(Unavailable, match=r"(?i)no such bucket|NoSuchBucket|bucket does not exist"):
            attempt()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    silent = ObjectArtifacts("s3://bucket", open_store("s3://bucket", seconds=1.0), tmp_path / "cache", 2**30)
    with pytest.raises(Unavailable, match="cannot write s3://bucket/m/"):
        silent.put("m", b"weights")


def test_a_store_that_lies_is_named_and_what_it_said_is_not_kept(
    store: FaultyStore, artifacts: ObjectArtifacts, elsewhere: ObjectArtifacts
) -> None:
    digest = artifacts.put("m", b"weights")
    with store.failing(other_bytes):
        with pytest.raises(CorruptData, match="is damaged"):
            elsewhere.get("m", digest)
        with pytest.raises(CorruptData, match="is damaged"):
            elsewhere.check("m", digest)
    assert elsewhere.get("m", digest) == b"weights"


def test_an_object_whose_bytes_never_come_is_an_error_to_try_again(
    store: FaultyStore, artifacts: ObjectArtifacts, elsewhere: ObjectArtifacts
) -> None:
    digest = artifacts.put("m", b"weights")
    with store.failing(cut_off(times=10**9, share=0.0)), pytest.raises(Unavailable, match="cannot read"):
        elsewhere.get("m", digest)
    assert elsewhere.get("m", digest) == b"weights"

"""An encrypted file gives what was written or nothing, whatever becomes of it; keys can be rotated and are never shown."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import ConfigurationError, CorruptData, Unavailable
from driftline.settings import Settings
from driftline.store.artifact_place import open_artifacts
from driftline.store.artifacts import Artifacts
from driftline.store.encryption import (
    ENCRYPTED_CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Altered,
    Encryption,
    EncryptionKey,
    sizes,
    stream_of,
)
from driftline.store.re_encryption import other_keys, re_encrypt

FULL = ENCRYPTED_CHUNK_BYTES + TAG_BYTES
OLD, NEW = EncryptionKey("2026", b"o" * 32), EncryptionKey("2027", b"n" * 32)
TEXT = b'{"weights of a secret": "0123456789"}'


def encrypted(data: bytes, key: EncryptionKey = OLD) -> bytes:
    return Encryption([key]).encrypted_whole(data)


def decrypted(data: bytes, *keys: EncryptionKey) -> bytes:
    return Encryption(keys or [OLD]).decrypted_whole(data, "here")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0, 1, 100, ENCRYPTED_CHUNK_BYTES - 1, ENCRYPTED_CHUNK_BYTES, ENCRYPTED_CHUNK_BYTES + 1, 3 * FULL]),
    st.lists(st.integers(0, 2 * ENCRYPTED_CHUNK_BYTES), max_size=4),
    st.integers(1, 2 * ENCRYPTED_CHUNK_BYTES),
)
def test_what_was_written_in_any_parts_is_read_in_any_parts(size: int, cuts: list[int], step: int) -> None:
    data = secrets.token_bytes(size)
    ends = sorted({min(cut, size) for cut in cuts} | {0, size})
    parts = [data[start:end] for start, end in pairwise(ends)]
    file = b"".join(Encryption([OLD]).encrypted(parts))
    assert len(file) == sizes(size)[1] and sizes(size)[0] == size
    pieces = (file[start : start + step] for start in range(0, len(file), step))
    stream = stream_of(pieces if step >= HEADER_BYTES else [file])
    plain = Encryption([NEW, OLD]).opened(stream, len(file), "here")
    target = bytearray(size)
    assert plain.size == size and plain.key == OLD.name
    assert plain.file.readinto(memoryview(target)[: size // 2]) == size // 2
    assert bytes(target[: size // 2]) + plain.file.read() == data


def test_every_changed_bit_and_every_cut_is_told_and_never_read() -> None:
    file = encrypted(TEXT)
    for place in range(len(file)):
        for bit in (1, 128):
            changed = file[:place] + bytes([file[place] ^ bit]) + file[place + 1 :]
            try:
                assert decrypted(changed) == changed, "a broken magic: the sha256 of its name tells of it"
                assert place < 8
            except Altered:
                assert place >= 8
    for end in range(8, len(file)):
        with pytest.raises(Altered):
            decrypted(file[:end])
    with pytest.raises(Altered):
        decrypted(file + b"0")


def test_chunks_that_are_swapped_missing_doubled_or_of_another_file_are_told() -> None:
    data = secrets.token_bytes(3 * ENCRYPTED_CHUNK_BYTES + 5)
    file, other = encrypted(data), encrypted(data)

    def chunks(of: bytes) -> list[bytes]:
        return [of[start : start + FULL] for start in range(HEADER_BYTES, len(of), FULL)]

    one, two, three, last = chunks(file)
    header = file[:HEADER_BYTES]
    assert decrypted(b"".join((header, one, two, three, last))) == data
    for wrong in (
        (two, one, three, last),
        (one, three, last),
        (one, one, two, three, last),
        (one, two, three),  # cut off where a chunk ends
        (one, two, three, last, last),
        (one, chunks(other)[1], three, last),
        tuple(chunks(other)),
        (),
    ):
        with pytest.raises(Altered):
            decrypted(b"".join((header, *wrong)))


def test_a_key_that_is_not_here_is_named_and_its_secret_is_not() -> None:
    same_id = EncryptionKey("2026", b"x" * 32)
    for keys in ([], [NEW], [same_id]):
        with pytest.raises(Unavailable, match=f"`{OLD.name}`") as refused:
            Encryption(keys).decrypted_whole(encrypted(TEXT), "s3://bucket/file")
        assert refused.value.code == "encryption_key" and "s3://bucket/file" in refused.value.message
    for shown in (repr(OLD), str(Encryption([OLD]).__dict__), OLD.name):
        assert "ooo" not in shown and OLD.secret.hex() not in shown


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return write(tmp_path / "keys", f"# ours\n2026 {base64.b64encode(OLD.secret).decode()} # first\n\n")


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def line(identifier: str, secret: bytes) -> str:
    return f"{identifier} {base64.b64encode(secret).decode()}\n"


def test_keys_come_from_a_file_or_a_command(keys_file: Path, tmp_path: Path) -> None:
    by_file = open_artifacts(Settings(data_dir=tmp_path, encryption_key_file=keys_file))
    by_command = open_artifacts(Settings(data_dir=tmp_path, encryption_key_command=f"cat '{keys_file}'"))
    assert by_file.encryption.names == by_command.encryption.names == [OLD.name]
    assert open_artifacts(Settings(data_dir=tmp_path)).encryption.names == []


SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
REFUSED = {
    SECRET: "line 1 is not ID KEY",
    f"{SECRET}{SECRET} a": "line 1 is not ID KEY",
    f"a {SECRET}": "has 24 bytes, and has to be 32",
    "a !": "is not base64",
    "# nothing": "there is no key",
    line("a", b"1" * 32) + line("a", b"2" * 32): "`a` in line 2 stands there twice",
    line("a", b"1" * 32) + line("b", b"1" * 32): "`b` in line 2 is there already under another id",
    "a b c": "line 1 is not ID KEY",
    "é " + SECRET: "line 1 is not ID KEY",
    "#" * 70_000: "more than 65536 bytes",
}


@pytest.mark.parametrize(("text", "why"), REFUSED.items(), ids=range(len(REFUSED)))
def test_a_file_that_is_no_list_of_keys_is_refused_without_a_word_of_it(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_artifacts(Settings(data_dir=tmp_path, encryption_key_file=write(tmp_path / "keys", text)))
    assert why in refused.value.message and refused.value.details["field"] == "encryption_key_file"
    assert "c2VjcmV0" not in str(refused.value.as_json()) and "MTEx" not in str(refused.value.as_json())


def test_a_file_that_others_may_read_or_that_is_not_there_is_refused(keys_file: Path, tmp_path: Path) -> None:
    keys_file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="is open to others than its owner \\(mode 0644\\): chmod 600"):
        open_artifacts(Settings(data_dir=tmp_path, encryption_key_file=keys_file))
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        open_artifacts(Settings(data_dir=tmp_path, encryption_key_file=tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        open_artifacts(Settings(data_dir=tmp_path, encryption_key_file=tmp_path))


def test_a_command_that_fails_is_told_and_what_it_wrote_is_not(keys_file: Path, tmp_path: Path) -> None:
    for command, why in {
        "sh -c 'echo c2VjcmV0; exit 3'": "has failed: it ended with 3",
        "/no/such/program c2VjcmV0": "cannot be started: No such file",
        "echo 'c2VjcmV0": "cannot be read",
        "echo c2VjcmV0": "line 1 is not ID KEY",
    }.items():
        with pytest.raises(ConfigurationError) as refused:
            open_artifacts(Settings(data_dir=tmp_path, encryption_key_command=command))
        assert why in refused.value.message and "c2VjcmV0" not in str(refused.value.as_json())
    both = Settings(data_dir=tmp_path, encryption_key_command="true", encryption_key_file=keys_file)
    assert "true" not in repr(both).partition("encryption_key_command")[2]
    with pytest.raises(ConfigurationError, match="give one of them"):
        open_artifacts(both)


def blobs(root: Path) -> Iterator[tuple[str, bytes]]:
    return ((path.name, path.read_bytes()) for path in sorted(root.glob("*/*")))


def test_artifacts_are_encrypted_and_damage_is_told_as_that_of_plain_ones(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path, Encryption([OLD]))
    digest = artifacts.put("m", TEXT)
    large = secrets.token_bytes(2**20)
    name = sha256(large).hexdigest()
    artifacts.put_parts("m", name, [large[:100], large[100:]])
    assert not any(TEXT[:12] in data or large[5000:5016] in data for _, data in blobs(tmp_path))
    assert artifacts.get("m", digest) == TEXT and artifacts.get("m", name) == large
    assert list(artifacts.texts("m")) == [TEXT]
    before = (tmp_path / "m" / digest).read_bytes()
    assert artifacts.put("m", TEXT) == digest and (tmp_path / "m" / digest).read_bytes() == before, "it was there"
    for place in range(0, len(before), 7):
        (tmp_path / "m" / digest).write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
        with pytest.raises(CorruptData, match="is damaged"):
            artifacts.get("m", digest)
    (tmp_path / "m" / digest).write_bytes((tmp_path / "m" / name).read_bytes())
    with pytest.raises(CorruptData, match="is damaged"):
        artifacts.get("m", digest)
    assert artifacts.put("m", TEXT) == digest and artifacts.get("m", digest) == TEXT, "written again"


def test_plain_and_former_files_are_read_until_all_are_written_again(tmp_path: Path) -> None:
    digests = [Artifacts(tmp_path).put("m", TEXT), Artifacts(tmp_path, Encryption([OLD])).put("m", b"former")]
    Artifacts(tmp_path).share("n", "m", digests[:1])
    os.utime(tmp_path / "m" / digests[0], (1000, 1000))
    both = Artifacts(tmp_path, Encryption([NEW, OLD]))
    assert [both.get("m", digest) for digest in digests] == [TEXT, b"former"]
    assert other_keys(both, "m") == (2, {None: 1, OLD.name: 1})
    (tmp_path / "m" / ".aside").write_bytes(b"of one that was killed")
    done = re_encrypt(both)
    assert (done.files, done.written, done.left) == (3, 3, [])
    assert other_keys(both, "m") == (2, {}) and re_encrypt(both).written == 0
    newest = Artifacts(tmp_path, Encryption([NEW]))
    assert [newest.get("m", digest) for digest in digests] == [TEXT, b"former"]
    shared = [(tmp_path / uid / digests[0]).stat() for uid in ("m", "n")]
    assert shared[0].st_ino == shared[1].st_ino, "models still share it"
    assert shared[0].st_mtime == 1000, "what is swept is told by its age"
    assert re_encrypt(Artifacts(tmp_path, Encryption([NEW]).without_writing())).written == 3
    assert Artifacts(tmp_path).get("m", digests[1]) == b"former"


def test_what_cannot_be_read_is_left_and_told_and_the_others_are_written(tmp_path: Path) -> None:
    lost = Artifacts(tmp_path, Encryption([NEW])).put("m", b"by a key that is gone")
    damaged, whole = (Artifacts(tmp_path).put("m", data) for data in (b"damaged", b"whole"))
    (tmp_path / "m" / damaged).write_bytes(b"damageD")
    before = {name: data for name, data in blobs(tmp_path) if name != whole}
    done = re_encrypt(Artifacts(tmp_path, Encryption([OLD])))
    assert done.written == 1 and len(done.left) == 2
    assert any(NEW.name in why for why in done.left) and any("is damaged" in why for why in done.left)
    assert {name: data for name, data in blobs(tmp_path) if name != whole} == before
    assert lost in before and not list(tmp_path.glob("*/.*"))


def test_a_file_that_is_deleted_while_it_is_written_again_stays_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = Artifacts(tmp_path).put("m", TEXT)
    artifacts = Artifacts(tmp_path, Encryption([OLD]))
    encrypt = artifacts.encryption.encrypted

    def deleted_meanwhile(parts: Iterator[bytes]) -> Iterator[bytes]:
        yield from encrypt(parts)  # type: ignore[misc]
        Artifacts(tmp_path).collect("m", set(), 0, retired={digest})

    monkeypatch.setattr(artifacts.encryption, "encrypted", deleted_meanwhile)
    done = re_encrypt(artifacts)
    assert (done.files, done.written, done.left) == (0, 0, []) and list(tmp_path.glob("*/*")) == []


def test_what_a_kill_has_interrupted_goes_on_when_it_is_given_again(tmp_path: Path) -> None:
    texts = {Artifacts(tmp_path).put("m", data): data for data in (b"one", b"two", b"three")}
    program = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from driftline.store.artifacts import Artifacts
        from driftline.store.encryption import Encryption, EncryptionKey
        from driftline.store.re_encryption import re_encrypt
        rename, count = Path.rename, iter(range(2))
        def or_die(path, target):
            if next(count, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(path, target)
        Path.rename = or_die
        re_encrypt(Artifacts(Path(sys.argv[1]), Encryption([EncryptionKey("2026", b"o" * 32)])))
        """
    )
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert died.returncode == -signal.SIGKILL
    artifacts = Artifacts(tmp_path, Encryption([OLD]))
    assert other_keys(artifacts, "m") == (3, {None: 1})
    assert all(artifacts.get("m", digest) == data for digest, data in texts.items())
    assert re_encrypt(artifacts).written == 1 and other_keys(artifacts, "m") == (3, {})
    assert all(artifacts.get("m", digest) == data for digest, data in texts.items())

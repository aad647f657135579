"""The format of a backup: a folder of files, and an index, written last, with the sha256 of each.

::

    index.json                            format, time, models, sha256 of each file
    keys.json                             API keys, where they were asked for
    models/NAME/keys.msgpack              the model's keys in Redis, at one point
    models/NAME/receipts.msgpack          ids and digests by which a resend is recognised
    models/NAME/predictions.msgpack       recorded predictions, where they were asked for
    models/NAME/artifacts/SHA256          versions and checkpoints

A ``.msgpack`` file is a sequence of pieces, each after its length in 4 bytes, big-endian. With encryption keys each file is
encrypted (:mod:`driftline.store.encryption`), of a ``.msgpack`` file some pieces at a time. The index, which nobody without a
key can write, has the sha256 of each file as it stands there, and so says which pieces there are, and in which order.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec

from driftline.errors import ConfigurationError, CorruptData, InvalidInput, Unavailable
from driftline.store.encryption import HEADER_BYTES, Altered, Encryption, Part, key_name
from driftline.store.redis_keys import NOUNS
from driftline.support import private
from driftline.support.json_text import UNREADABLE
from driftline.version import __version__

FORMAT = 1
INDEX, API_KEYS = "index.json", "keys.json"
KEYS, RECEIPTS, PREDICTIONS = "keys.msgpack", "receipts.msgpack", "predictions.msgpack"
MAX_CHUNK_BYTES = 2**20

Entry = tuple[bytes, list[tuple[bytes, bytes]]]

KINDS = {noun: what.partition(":")[0] for noun, what in NOUNS.items() if noun not in ("lease", "checkpoints")}
"""Noun → its type in Redis, for every key of a model that a backup holds; former checkpoints would be most of its bytes."""

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
Uid = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$")]


class Text(msgspec.Struct, frozen=True, tag=True):
    """A string key. ``ms`` is its time to live in milliseconds; None: it does not expire."""

    key: bytes
    value: bytes
    ms: int | None = None

    def write(self, pipe: Any, base: bytes) -> None:
        pipe.set(base + self.key, self.value, px=self.ms)


class Fields(msgspec.Struct, frozen=True, tag=True):
    """A hash."""

    key: bytes
    fields: list[tuple[bytes, bytes]]

    def write(self, pipe: Any, base: bytes) -> None:
        pipe.hset(base + self.key, mapping=dict(self.fields))


class Scores(msgspec.Struct, frozen=True, tag=True):
    """A sorted set."""

    key: bytes
    members: list[tuple[bytes, float]]

    def write(self, pipe: Any, base: bytes) -> None:
        pipe.zadd(base + self.key, dict(self.members))


class Entries(msgspec.Struct, frozen=True, tag=True):
    """Consecutive entries of a stream. ``ms`` is the stream's time to live in milliseconds; None: it does not expire."""

    key: bytes
    entries: list[Entry]
    ms: int | None = None

    def write(self, pipe: Any, base: bytes) -> None:
        for identifier, fields in self.entries:
            pipe.xadd(base + self.key, dict(fields), id=identifier)
        if self.ms is not None:
            pipe.pexpire(base + self.key, self.ms)


Piece = Text | Fields | Scores | Entries

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Piece] = msgspec.msgpack.Decoder(Piece)


class BackupFile(msgspec.Struct, frozen=True):
    """One file of a backup."""

    sha256: Digest
    bytes: int


class SavedModel(msgspec.Struct, frozen=True):
    """One model in a backup. ``version`` and ``learned`` are those of its head, ``last`` is the end of its log."""

    name: Name
    uid: Uid
    version: int
    learned: int
    last: int
    files: dict[str, BackupFile]
    artifacts: list[Digest]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    @property
    def folder(self) -> str:
        return f"models/{self.name}"


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a backup. A folder without an index is not a backup."""

    format: int = FORMAT
    driftline: str = __version__
    created: float = msgspec.field(default_factory=time.time)
    models: list[SavedModel]
    api_keys: BackupFile | None = None


class _Format(msgspec.Struct):
    format: int


def write_index(folder: Path, index: Index, encryption: Encryption) -> None:
    """Writes the index, which makes the folder a backup."""
    write_file(folder / INDEX, msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n", encryption)


def read_index(folder: Path, encryption: Encryption, *, takes_plain: bool = False) -> Index:
    """The index of a backup.

    An index that is encrypted was written by whoever has a key, and so was each file, whose sha256 it has.

    Args:
        takes_plain: also where there are encryption keys a backup may be plain, which anyone can have written.

    Raises:
        InvalidInput: the folder is not a backup, or the backup is plain.
        CorruptData: the index is damaged.
        ConfigurationError: it cannot be read, or is encrypted by a key that is not here.
    """
    try:
        file = (folder / INDEX).read_bytes()
        is_plain = key_name(file[:HEADER_BYTES]) is None
        data = encryption.decrypted_whole(file, str(folder / INDEX))
    except Altered as error:
        raise CorruptData(f"{folder / INDEX} is damaged: {error}; take another backup", code="damaged_backup") from None
    except Unavailable as error:
        raise ConfigurationError(error.message) from None
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(
            f"{folder} is not a backup: it has no {INDEX}, which a backup that was interrupted lacks",
            code="not_a_backup",
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{folder / INDEX} cannot be read: {error.strerror}") from None
    if is_plain and encryption.writing is not None and not takes_plain:
        raise InvalidInput(
            f"{folder} is not encrypted, and there are encryption keys: anyone may have written it; --plain restores it",
            code="plain_backup",
        )
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found != FORMAT:
            raise CorruptData(
                f"{folder} is a backup of format {found}, and this Driftline knows {FORMAT}; "
                "restore it with the Driftline that made it",
                code="unknown_format",
            )
        return msgspec.json.decode(data, type=Index)
    except UNREADABLE as error:
        raise CorruptData(f"{folder / INDEX} is damaged: {error}; take another backup", code="damaged_backup") from None


def verify(folder: Path, index: Index, encryption: Encryption) -> None:
    """Reads every file of a backup; :class:`CorruptData` names the first that is missing or damaged.

    Pieces are read, too: a plain index may have been written by anyone, with the sha256 of anything.
    """
    for model in index.models:
        for digest in model.artifacts:
            _check(folder / model.folder / "artifacts" / digest, model.files.get(f"artifacts/{digest}"))
        for name in (KEYS, RECEIPTS, *({PREDICTIONS} & model.files.keys())):
            _check(folder / model.folder / name, model.files.get(name))
            for _ in read_pieces(folder / model.folder / name, encryption):
                pass
    if index.api_keys is not None:
        _check(folder / API_KEYS, index.api_keys)


def _check(path: Path, expected: BackupFile | None) -> None:
    try:
        found = measure(path)
    except FileNotFoundError:
        raise _damaged(path, "missing") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if found != expected:
        raise _damaged(path, "damaged")


def _damaged(path: Path, how: str) -> CorruptData:
    message = f"{path} is {how}: it is not what the backup wrote; nothing was restored, take another backup"
    return CorruptData(message, code="damaged_backup")


def measure(path: Path) -> BackupFile:
    """The sha256 and the size of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(MAX_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return BackupFile(digest.hexdigest(), size)


def aside(path: Path) -> Path:
    """The path at which a file is written until it is complete."""
    return path.with_name(f".{path.name}.part")


def settle(path: Path) -> BackupFile:
    """Syncs and renames a file that was written aside; gives its sha256 and size."""
    with aside(path).open("rb") as file:
        os.fsync(file.fileno())
    aside(path).rename(path)
    return measure(path)


def write_file(path: Path, data: bytes, encryption: Encryption) -> BackupFile:
    """Writes a file atomically: it is complete or not there."""
    write_aside(path, encryption.encrypted([data]))
    return settle(path)


def read_file(path: Path, encryption: Encryption) -> bytes:
    """What a file holds."""
    return encryption.decrypted_whole(path.read_bytes(), str(path))


def write_aside(path: Path, chunks: Iterable[Part]) -> None:
    """Writes a file aside; :func:`settle` completes it."""
    private.make_folder(path.parent)
    with contextlib.suppress(FileNotFoundError):
        aside(path).unlink()
    with os.fdopen(os.open(aside(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, private.FILE_MODE), "wb") as file:
        file.writelines(chunks)


def append_pieces(path: Path, pieces: Sequence[Piece], encryption: Encryption) -> None:
    """Appends pieces to a file that is still written aside; :func:`settle` completes it."""
    with open(aside(path), "ab", opener=private.owner_alone) as file:
        framed = b"".join(_framed(_encoder.encode(piece)) for piece in pieces)
        file.write(_framed(encryption.encrypted_whole(framed)) if framed and encryption.writing else framed)


def read_pieces(path: Path, encryption: Encryption) -> Iterator[Piece]:
    """The pieces of a file.

    Raises:
        CorruptData: it has others.
        ConfigurationError: one is encrypted by a key that is not here.
    """
    try:
        with path.open("rb") as file:
            for frame in _frames(file):
                if key_name(frame[:HEADER_BYTES]) is None:
                    yield _decoder.decode(frame)
                else:
                    pieces = _frames(io.BytesIO(encryption.decrypted_whole(frame, str(path))))
                    yield from map(_decoder.decode, pieces)
    except (*UNREADABLE, Altered):
        raise _damaged(path, "damaged") from None
    except Unavailable as error:
        raise ConfigurationError(error.message) from None


def _framed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _frames(file: BinaryIO) -> Iterator[bytes]:
    while length := file.read(4):
        frame = file.read(int.from_bytes(length, "big"))
        if len(length) + len(frame) < 4 + int.from_bytes(length, "big"):
            raise Altered("it ends within a piece")
        yield frame


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Errors of the disk become :class:`ConfigurationError`."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error

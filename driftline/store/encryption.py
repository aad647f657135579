"""Encryption at rest: a file is a header and chunks of AES-256-GCM, read and written one at a time.

The construction is Tink's streaming AEAD (`AES256_GCM_HKDF`), which is STREAM of Hoang, Reyhanitabar, Rogaway and Vizár
(CRYPTO 2015): each file has a key of its own, derived from the operator's by HKDF-SHA256 with a random salt and the whole
header, and the nonce of a chunk is its number and whether it is the last. So a byte that was changed, a chunk that is missing,
doubled, out of order or of another file, and an end that was cut off are all :class:`Altered`::

    magic 8 | id of the key 32 | fingerprint of the key 8 | salt 32 | checksum of these 8
    chunk: at most 64 KiB, and a tag of 16 bytes; each but the last is full

A plain file begins with none of the magic: a manifest with `{`, tensors with a length below 2⁴⁰, a backup's pieces with one
below 2²⁴.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from driftline.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Part: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"DRFTENC\x01"
ENCRYPTED_CHUNK_BYTES = 2**16
"""What one call encrypts, under the interpreter's lock: no other thread should wait long for it."""
TAG_BYTES = 16
KEY_BYTES = 32
_FIELDS = struct.Struct("8s32s8s32s")
HEADER_BYTES = _FIELDS.size + 8


class Altered(ValueError):
    """Encrypted bytes are not as they were written."""


@dataclass(frozen=True)
class EncryptionKey:
    """A key of the operator's. It encrypts nothing itself: each file's own key is derived from it."""

    id: str
    secret: bytes = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        """What tells it from another key of the same id, and nothing of its secret."""
        return hmac.digest(self.secret, b"driftline: fingerprint of an encryption key", "sha256")[:8]

    @property
    def name(self) -> str:
        return f"{self.id}:{self.fingerprint.hex()}"

    def new_header(self) -> bytes:
        """The header of a new file."""
        fields = _FIELDS.pack(MAGIC, self.id.encode(), self.fingerprint, secrets.token_bytes(32))
        return fields + _checksum(fields)

    def cipher(self, header: bytes) -> AESGCM:
        """What encrypts and decrypts the file with this header."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        salt = _FIELDS.unpack(header[: _FIELDS.size])[3]
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=salt, info=header).derive(self.secret))


class Encryption:
    """Encrypts what is written by the first of some keys, and reads what any of them, or none, has encrypted.

    Args:
        keys: none: nothing is encrypted, and nothing encrypted can be read.
        writes_plain: encrypts nothing, and reads all the same.
    """

    def __init__(self, keys: Sequence[EncryptionKey] = (), *, writes_plain: bool = False) -> None:
        self._keys = {key.name: key for key in keys}
        self._writing = None if writes_plain or not keys else keys[0]

    @property
    def names(self) -> list[str]:
        """The ids and fingerprints of the keys, first the one that encrypts."""
        return list(self._keys)

    @property
    def writing(self) -> str | None:
        """The name of the key that encrypts; None: what is written is plain."""
        return None if self._writing is None else self._writing.name

    def without_writing(self) -> Encryption:
        """What reads the same and encrypts nothing."""
        return Encryption(list(self._keys.values()), writes_plain=True)

    def encrypted(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The bytes of a file that holds these."""
        return iter(parts) if self._writing is None else _encrypted(self._writing, parts)

    def encrypted_whole(self, data: bytes) -> bytes:
        """A small file that holds these bytes."""
        return b"".join(self.encrypted([data]))

    def decrypted_whole(self, data: bytes, place: str) -> bytes:
        """What a small file holds; see :meth:`opened`."""
        return self.opened(io.BufferedReader(io.BytesIO(data)), len(data), place).file.read()

    def opened(self, file: io.BufferedReader, size: int, place: str) -> PlainFile:
        """What a file holds, whose bytes are decrypted as they are read. A plain one is read as it is.

        Args:
            file: at its beginning.
            size: how many bytes it has.
            place: where it is, as messages name it.

        Raises:
            Altered: the header is not as it was written; from reading, what comes after it.
            Unavailable: none of the keys has encrypted it.
        """
        name = key_name(file.peek(HEADER_BYTES)[:HEADER_BYTES])
        if name is None:
            return PlainFile(file, size, None)
        key = self._keys.get(name)
        if key is None:
            raise self._no_key(name, place)
        decrypting = _Decrypting(key.cipher(file.read(HEADER_BYTES)), file, size - HEADER_BYTES)
        return PlainFile(io.BufferedReader(decrypting), decrypting.size, name)

    def _no_key(self, name: str, place: str) -> Unavailable:
        here = ", ".join(f"`{known}`" for known in self._keys) or "none"
        return Unavailable(
            f"{place} is encrypted by the key `{name}`, and the encryption keys here are {here}: add that key to "
            "DRIFTLINE_ENCRYPTION_KEY_FILE, or to what DRIFTLINE_ENCRYPTION_KEY_COMMAND gives, and start again",
            code="encryption_key",
            retry_after=5,
        )


class PlainFile(NamedTuple):
    """What a file holds, from its beginning to its end; ``size``: how many bytes that is, ``key``: what has encrypted it."""

    file: io.BufferedReader
    size: int
    key: str | None


def sizes(size: int) -> tuple[int, int]:
    """How many bytes a file has that holds so many: a plain one, and an encrypted one."""
    return size, HEADER_BYTES + size + TAG_BYTES * max(1, -(-size // ENCRYPTED_CHUNK_BYTES))


def stream_of(chunks: Iterable[bytes]) -> io.BufferedReader:
    """A file of what comes in chunks."""
    return io.BufferedReader(_Stream(iter(chunks)))


def key_name(begin: bytes) -> str | None:
    """The id and fingerprint of the key that has encrypted the file that begins so; None: it is plain.

    Raises:
        Altered: it is the beginning of no file that was written here.
    """
    if not begin.startswith(MAGIC):
        return None
    fields = begin[: _FIELDS.size]
    if len(begin) < HEADER_BYTES or begin[_FIELDS.size : HEADER_BYTES] != _checksum(fields):
        raise Altered("the header of an encrypted file is damaged")
    _, identifier, fingerprint, _ = _FIELDS.unpack(fields)
    if not identifier.isascii():
        raise Altered("the header of an encrypted file names no key")
    return f"{identifier.rstrip(bytes(1)).decode()}:{fingerprint.hex()}"


def _checksum(fields: bytes) -> bytes:
    """Tells a damaged header, which names no key, from one that names another key. It proves nothing of who wrote it."""
    return hashlib.sha256(fields).digest()[:8]


def _encrypted(key: EncryptionKey, parts: Iterable[Part]) -> Iterator[Part]:
    header = key.new_header()
    cipher = key.cipher(header)
    yield header
    for number, (chunk, is_last) in enumerate(_chunks(parts)):
        yield cipher.encrypt(_nonce(number, is_last), chunk, None)


def _chunks(parts: Iterable[Part]) -> Iterator[tuple[bytearray, bool]]:
    """What parts hold, in full chunks and a last one; whether each is the last."""
    chunk = bytearray()
    for part in parts:
        view = memoryview(part)
        while view:
            if len(chunk) == ENCRYPTED_CHUNK_BYTES:
                yield chunk, False
                chunk = bytearray()
            taken = view[: ENCRYPTED_CHUNK_BYTES - len(chunk)]
            chunk += taken
            view = view[len(taken) :]
    yield chunk, True


def _nonce(number: int, is_last: bool) -> bytes:
    return struct.pack(">xxxQ?", number, is_last)


class _Pieces(io.RawIOBase):
    """A file whose content is made a piece at a time, as it is read."""

    _left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        if not self._left:
            self._left = memoryview(self._next())
        taken = self._left[: len(target)]
        target[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        return len(taken)

    def _next(self) -> bytes:
        """The next piece; nothing at the end."""
        raise NotImplementedError


class _Stream(_Pieces):
    """What an iterator gives; no piece of it is empty."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def _next(self) -> bytes:
        return next(self._pieces, b"")


class _Decrypting(_Pieces):
    """The chunks of an encrypted file after its header, of which ``size`` bytes are read."""

    def __init__(self, cipher: AESGCM, file: io.BufferedReader, size: int) -> None:
        self._cipher = cipher
        self._file = file
        self._count = max(1, -(-size // (ENCRYPTED_CHUNK_BYTES + TAG_BYTES)))
        self._number = 0
        self.size = size - self._count * TAG_BYTES
        if self.size < 0:
            raise Altered("an encrypted file is cut off")

    def _next(self) -> bytes:
        from cryptography.exceptions import InvalidTag

        if self._number == self._count:
            return b""
        chunk = self._file.read(ENCRYPTED_CHUNK_BYTES + TAG_BYTES)
        nonce = _nonce(self._number, self._number == self._count - 1)
        self._number += 1
        try:
            return self._cipher.decrypt(nonce, chunk, None)
        except InvalidTag:
            raise Altered("an encrypted file is not as it was written") from None

"""A blob while it is read or written, in chunks, and what is wrong with one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from driftline.errors import CorruptData, Unavailable
from driftline.store.encryption import Part, PlainFile

CHUNK_BYTES = 2**22
"""How much of a blob is read, hashed or written at once; other threads run meanwhile."""


class OtherContent(Exception):
    """What was written is not what its sha256 is of."""


class BlobReader:
    """A blob while it is read from its beginning to its end; what was read is whole once all of it was."""

    def __init__(self, place: str, plain: PlainFile) -> None:
        self.size = plain.size
        self._place = place
        self._file = plain.file
        self._sha256 = hashlib.sha256()

    def take(self, count: int) -> bytes:
        """The next bytes: fewer at the end of the blob."""
        try:
            data = self._file.read(count)
        except OSError as error:
            raise unwilling("read", self._place, error) from error
        self._sha256.update(data)
        return data

    def fill(self, target: memoryview) -> None:
        """Reads the next bytes into memory, as many as have room there and the blob has."""
        for start in range(0, len(target), CHUNK_BYTES):
            part = target[start : start + CHUNK_BYTES]
            try:
                count = self._file.readinto(part)
            except OSError as error:
                raise unwilling("read", self._place, error) from error
            self._sha256.update(part[:count])

    def chunks(self) -> Iterator[bytes]:
        """All that was not read yet."""
        while data := self.take(CHUNK_BYTES):
            yield data

    def digest(self) -> str:
        """The sha256 of the whole blob, in hexadecimal; what was not read yet is read for it."""
        for _ in self.chunks():
            pass
        return self._sha256.hexdigest()


def chunks_of(parts: Iterable[Part]) -> Iterator[memoryview]:
    """What parts hold, a chunk at a time, without a copy of it."""
    for part in parts:
        view = memoryview(part)
        yield from (view[start : start + CHUNK_BYTES] for start in range(0, len(view), CHUNK_BYTES))


def checked(parts: Iterable[Part], digest: str) -> Iterator[memoryview]:
    """What parts hold, a chunk at a time; :class:`OtherContent` at the end where its sha256 is another one."""
    sha256 = hashlib.sha256()
    for chunk in chunks_of(parts):
        sha256.update(chunk)
        yield chunk
    if sha256.hexdigest() != digest:
        raise OtherContent


def missing(place: str, digest: str) -> CorruptData:
    return CorruptData(f"the artifact {place} is missing", code="artifact_missing", sha256=digest)


def damaged(place: str, digest: str) -> CorruptData:
    return CorruptData(f"the artifact {place} is damaged", code="artifact_damaged", sha256=digest)


def changed_meanwhile(place: str, digest: str) -> CorruptData:
    return CorruptData(f"a tensor was changed while it was written to {place}", code="artifact_damaged", sha256=digest)


def unwilling(verb: str, place: Path | str, error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot {verb} {place}: {error.strerror}; it is tried again until the disk has room and lets us use this folder",
        code="disk",
        retry_after=5,
    )

"""The files of versions and checkpoints: immutable blobs, named by the sha256 of their content.

A blob may be large, and many versions refer to it: it is read and written in chunks, and written and compared only once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from driftline.errors import CorruptData, Unavailable
from driftline.support import private

OWNER_FILE = ".store"
"""The file that names the store which the blobs belong to."""


Part: TypeAlias = bytes | memoryview

CHUNK_BYTES = 2**22
"""How much of a blob is read, hashed or written at once; other threads run meanwhile."""


class BlobReader:
    """A blob while it is read from its beginning to its end; what was read is whole once all of it was."""

    def __init__(self, path: Path, file: io.BufferedReader) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self._path = path
        self._file = file
        self._sha256 = hashlib.sha256()

    def take(self, count: int) -> bytes:
        """The next bytes: fewer at the end of the blob."""
        try:
            data = self._file.read(count)
        except OSError as error:
            raise _unwilling("read", self._path, error) from error
        self._sha256.update(data)
        return data

    def fill(self, target: memoryview) -> None:
        """Reads the next bytes into memory, as many as have room there and the blob has."""
        for start in range(0, len(target), CHUNK_BYTES):
            part = target[start : start + CHUNK_BYTES]
            try:
                count = self._file.readinto(part)
            except OSError as error:
                raise _unwilling("read", self._path, error) from error
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


class Artifacts:
    """Blobs by sha256, in a folder for each model. A blob is complete or not there: it is written aside, synced, renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._whole: dict[Path, tuple[int, int, int]] = {}

    def put(self, uid: str, data: bytes) -> str:
        """Stores ``data`` and gives its sha256 in hexadecimal; :class:`Unavailable` when the disk refuses."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(uid, digest)
        try:
            if path.exists() and path.read_bytes() == data:
                os.utime(path)
            else:
                private.make_folder(path.parent)
                self._write(path, data)
        except OSError as error:
            raise _unwilling("write", path, error) from error
        return digest

    def put_parts(self, uid: str, digest: str, parts: Sequence[Part]) -> None:
        """Stores the blob of this sha256, which consists of ``parts``, where it is not there already.

        A blob that is there is read once, to see that it is whole, and again only after its file was changed. The folder is
        not synced: the manifest that names the blob is put after it, and syncs both.

        Raises:
            CorruptData: the parts are not what the sha256 is of: something else writes them.
            Unavailable: the disk refuses.
        """
        path = self._path(uid, digest)
        try:
            if self._is_whole(path, digest, sum(map(len, parts))):
                os.utime(path)
            else:
                private.make_folder(path.parent)
                self._write(path, *parts, digest=digest, syncs_folder=False)
            self._whole[path] = _signature(path)
        except OSError as error:
            raise _unwilling("write", path, error) from error

    def share(self, uid: str, other: str, digests: Collection[str]) -> None:
        """Lets a model have blobs of another one, on the same place of the disk, where the file system can do that.

        Those that are not there then are written like any others. Each model's stay until it needs them no more.
        """
        private.make_folder(self.root / uid)
        for digest in digests:
            with contextlib.suppress(OSError):
                os.link(self._path(other, digest), self._path(uid, digest))

    def _is_whole(self, path: Path, digest: str, size: int) -> bool:
        try:
            signature = _signature(path)
        except FileNotFoundError:
            return False
        if self._whole.get(path) == signature:
            return True
        with path.open("rb") as file:
            reader = BlobReader(path, file)
            return reader.size == size and reader.digest() == digest

    def _write(self, path: Path, *parts: Part, digest: str | None = None, syncs_folder: bool = True) -> None:
        aside, sha256 = path.parent / f".{secrets.token_hex(8)}", hashlib.sha256()
        try:
            with open(aside, "wb", buffering=0, opener=private.owner_alone) as file:
                for chunk in _chunks(parts):
                    _write_all(file, chunk)
                    if digest is not None:
                        sha256.update(chunk)
                if digest is not None and sha256.hexdigest() != digest:
                    message = f"a tensor was changed while it was written to {path}"
                    raise CorruptData(message, code="artifact_damaged", sha256=digest)
                os.fsync(file.fileno())
            aside.rename(path)
            if syncs_folder:
                _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise

    def get(self, uid: str, digest: str) -> bytes:
        """The blob with this sha256; :class:`CorruptData` when it is missing or damaged."""
        with self.reading(uid, digest) as reader:
            return reader.take(reader.size)

    def check(self, uid: str, digest: str) -> None:
        """Reads a blob without keeping it; :class:`CorruptData` when it is missing or damaged."""
        with self.reading(uid, digest):
            pass

    @contextlib.contextmanager
    def reading(self, uid: str, digest: str) -> Iterator[BlobReader]:
        """Reads a blob in parts. They are to be used after the block alone, whose end has compared the sha256.

        A :class:`ValueError` within says that the content is not what it should be.

        Raises:
            CorruptData: it is missing or damaged.
        """
        path = self._path(uid, digest)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise CorruptData(f"the artifact {path} is missing", code="artifact_missing", sha256=digest) from None
        except OSError as error:
            raise _unwilling("read", path, error) from error
        with file:
            reader = BlobReader(path, file)
            try:
                yield reader
                is_whole = reader.digest() == digest
            except ValueError:
                is_whole = False
        if not is_whole:
            raise CorruptData(f"the artifact {path} is damaged", code="artifact_damaged", sha256=digest)

    def texts(self, uid: str) -> Iterator[bytes]:
        """The blobs of a model that look like JSON: its manifests, as its other blobs are binary."""
        with _tolerated(self.root / uid):
            for entry in list(os.scandir(self.root / uid)):
                with contextlib.suppress(FileNotFoundError), open(entry.path, "rb") as file:
                    if (first := file.read(1)) == b"{":
                        yield first + file.read()

    def collect(self, uid: str, keep: Collection[str], orphan_seconds: float, retired: Collection[str] = ()) -> int:
        """Deletes the blobs of a model that are not in ``keep``: ``retired`` ones at once, others when old enough.

        Returns:
            How many were deleted.
        """
        gone = 0
        with _tolerated(self.root / uid):
            for entry in list(os.scandir(self.root / uid)):
                if entry.name in keep:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if entry.name in retired or time.time() - entry.stat().st_mtime > orphan_seconds:
                        os.unlink(entry.path)
                        self._whole.pop(Path(entry.path), None)
                        gone += 1
        return gone

    def are_of(self, store_id: str) -> bool:
        """Whether the blobs belong to this store; the first store that asks becomes their owner.

        The blobs of a store that has lost its data are all that is left of its models: another store must not delete them.
        """
        path = self.root / OWNER_FILE
        try:
            if not path.exists():
                self.adopt(store_id)
            return path.read_text() == store_id
        except OSError as error:
            raise _unwilling("read", path, error) from error

    def adopt(self, store_id: str) -> None:
        """Makes this store the owner of the blobs, as after a restore from a backup."""
        private.make_folder(self.root)
        private.close_to_others(self.root)
        self._write(self.root / OWNER_FILE, store_id.encode())

    def abandoned(self, known: Collection[str], orphan_seconds: float) -> list[str]:
        """The models that are not ``known``, and whose newest file is older than ``orphan_seconds``."""
        with _tolerated(self.root):
            now = time.time()
            return [
                entry.name
                for entry in os.scandir(self.root)
                if entry.name not in {*known, OWNER_FILE} and now - entry.stat().st_mtime > orphan_seconds
            ]
        return []

    def remove(self, uid: str) -> None:
        """Deletes everything of a model."""
        self._whole = {path: known for path, known in self._whole.items() if path.parent.name != uid}
        shutil.rmtree(self.root / uid, ignore_errors=True)

    def _path(self, uid: str, digest: str) -> Path:
        return self.root / uid / digest


@contextlib.contextmanager
def _tolerated(folder: Path) -> Iterator[None]:
    """A missing folder counts as empty; one that cannot be read is :class:`Unavailable`."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwilling("tidy", folder, error) from error


def _unwilling(verb: str, path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot {verb} {path}: {error.strerror}; it is tried again until the disk has room and lets us use this folder",
        code="disk",
        retry_after=5,
    )


def _signature(path: Path) -> tuple[int, int, int]:
    """What of a file is another where it was replaced or written again."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _chunks(parts: Sequence[Part]) -> Iterator[memoryview]:
    for part in parts:
        view = memoryview(part)
        yield from (view[start : start + CHUNK_BYTES] for start in range(0, len(view), CHUNK_BYTES))


def _write_all(file: io.FileIO, data: memoryview) -> None:
    """Writes to an unbuffered file, which may take a part at once."""
    while data:
        data = data[file.write(data) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The files of versions and checkpoints: immutable blobs, named by the sha256 of their content.

A blob may be large, and many versions refer to it: it is read and written in chunks, and written and compared only once.
App and worker meet in them, so each worker leaves a note there: who does not find it keeps its artifacts elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from driftline.errors import CorruptData, Unavailable
from driftline.support import private

OWNER_FILE = ".store"
"""The file that names the store which the blobs belong to."""
NOTE = ".worker-"
"""How the name of a file begins that is a worker's note."""

Part: TypeAlias = bytes | memoryview

CHUNK_BYTES = 2**22
"""How much of a blob is read, hashed or written at once; other threads run meanwhile."""


class StoredBlob(NamedTuple):
    """A blob that is there, or a model's folder; when it was written, in seconds since 1970."""

    name: str
    bytes: int
    modified: float


class OtherContent(Exception):
    """What was written is not what its sha256 is of."""


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
            raise unwilling("read", self._path, error) from error
        self._sha256.update(data)
        return data

    def fill(self, target: memoryview) -> None:
        """Reads the next bytes into memory, as many as have room there and the blob has."""
        for start in range(0, len(target), CHUNK_BYTES):
            part = target[start : start + CHUNK_BYTES]
            try:
                count = self._file.readinto(part)
            except OSError as error:
                raise unwilling("read", self._path, error) from error
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
                self._write(path, [data])
        except OSError as error:
            raise unwilling("write", path, error) from error
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
                self._write(path, parts, digest=digest, syncs_folder=False)
            self._whole[path] = signature(path)
        except OSError as error:
            raise unwilling("write", path, error) from error
        except OtherContent:
            raise changed_meanwhile(str(path), digest) from None

    def share(self, uid: str, other: str, digests: Collection[str]) -> None:
        """Lets a model have blobs of another one, on the same place of the disk, where the file system can do that.

        Those that are not there then are written like any others. Each model's stay until it needs them no more.
        """
        for digest in digests:
            with contextlib.suppress(OSError):
                private.make_folder(self.root / uid)
                os.link(self._path(other, digest), self._path(uid, digest))

    def _is_whole(self, path: Path, digest: str, size: int) -> bool:
        try:
            found = signature(path)
        except FileNotFoundError:
            return False
        if self._whole.get(path) == found:
            return True
        with path.open("rb") as file:
            reader = BlobReader(path, file)
            return reader.size == size and reader.digest() == digest

    def _write(self, path: Path, parts: Iterable[Part], digest: str | None = None, syncs_folder: bool = True) -> None:
        aside, sha256 = path.parent / f".{secrets.token_hex(8)}", hashlib.sha256()
        try:
            with open(aside, "wb", buffering=0, opener=private.owner_alone) as file:
                for chunk in chunks_of(parts):
                    _write_all(file, chunk)
                    if digest is not None:
                        sha256.update(chunk)
                if digest is not None and sha256.hexdigest() != digest:
                    raise OtherContent
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
            raise missing(str(path), digest) from None
        except OSError as error:
            raise unwilling("read", path, error) from error
        with file:
            reader = BlobReader(path, file)
            try:
                yield reader
                is_whole = reader.digest() == digest
            except ValueError:
                is_whole = False
        if not is_whole:
            raise damaged(str(path), digest)

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
        now = self._now()
        gone = [
            blob.name
            for blob in self.stored(uid)
            if blob.name not in keep and (blob.name in retired or now - blob.modified > orphan_seconds)
        ]
        self._delete(uid, gone)
        return len(gone)

    def _delete(self, uid: str, names: Collection[str]) -> None:
        with _tolerated(self.root / uid):
            for path in (self._path(uid, name) for name in names):
                path.unlink(missing_ok=True)
                self._whole.pop(path, None)

    def stored(self, uid: str) -> list[StoredBlob]:
        """The blobs of a model that are there, whether or not anything refers to them."""
        with _tolerated(self.root / uid):
            return list(_listed(self.root / uid))
        return []

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
            raise unwilling("read", path, error) from error

    def adopt(self, store_id: str) -> None:
        """Makes this store the owner of the blobs, as after a restore from a backup."""
        private.make_folder(self.root)
        private.close_to_others(self.root)
        self._write(self.root / OWNER_FILE, [store_id.encode()])

    def leave_note(self, owner: str, text: str) -> None:
        """Writes a worker's note, which takes the place of its last one; :class:`Unavailable` where that is refused."""
        path = self.root / note_name(owner)
        try:
            private.make_folder(self.root)
            self._write(path, [text.encode()])
        except OSError as error:
            raise unwilling("write", path, error) from error

    def note_of(self, owner: str) -> str | None:
        """The note of a worker; None where it has left none here, :class:`Unavailable` where it cannot be read."""
        path = self.root / note_name(owner)
        try:
            return path.read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unwilling("read", path, error) from error

    def remove_note(self, owner: str) -> None:
        """Removes the note of a worker that ends."""
        with _tolerated(self.root):
            (self.root / note_name(owner)).unlink(missing_ok=True)

    def remove_abandoned_notes(self, orphan_seconds: float) -> None:
        """Removes the notes that nobody has written again for so long."""
        with _tolerated(self.root):
            for note in _listed(self.root):
                if note.name.startswith(NOTE) and self._now() - note.modified > orphan_seconds:
                    (self.root / note.name).unlink(missing_ok=True)

    def abandoned(self, known: Collection[str], orphan_seconds: float) -> list[str]:
        """The models that are not ``known``, and whose newest file is older than ``orphan_seconds``."""
        now = self._now()
        return [each.name for each in self.models() if each.name not in known and now - each.modified > orphan_seconds]

    def models(self) -> list[StoredBlob]:
        """Every model that has blobs here: its uid, their bytes, and when the newest was written."""
        with _tolerated(self.root):
            folders = [each for each in _listed(self.root) if not each.name.startswith(".")]
            return [each._replace(bytes=sum(blob.bytes for blob in self.stored(each.name))) for each in folders]
        return []

    def remove(self, uid: str) -> None:
        """Deletes everything of a model."""
        self._whole = {path: known for path, known in self._whole.items() if path.parent.name != uid}
        shutil.rmtree(self.root / uid, ignore_errors=True)

    def _now(self) -> float:
        """The time by the clock that dates what is stored, in seconds since 1970."""
        return time.time()

    @property
    def place(self) -> str:
        """Where they are, as messages name it."""
        return str(self.root.resolve())

    def place_of(self, uid: str, digest: str = "") -> str:
        """Where a model's blobs are, or one of them."""
        return f"{self.place}/{uid}/{digest}".rstrip("/")

    def _path(self, uid: str, digest: str) -> Path:
        return self.root / uid / digest


def missing(place: str, digest: str) -> CorruptData:
    return CorruptData(f"the artifact {place} is missing", code="artifact_missing", sha256=digest)


def damaged(place: str, digest: str) -> CorruptData:
    return CorruptData(f"the artifact {place} is damaged", code="artifact_damaged", sha256=digest)


def changed_meanwhile(place: str, digest: str) -> CorruptData:
    return CorruptData(f"a tensor was changed while it was written to {place}", code="artifact_damaged", sha256=digest)


def note_name(owner: str) -> str:
    """The name of the file that is a worker's note."""
    return NOTE + quote(owner, safe="")


def _listed(folder: Path) -> Iterator[StoredBlob]:
    for entry in list(os.scandir(folder)):
        with contextlib.suppress(FileNotFoundError):
            found = entry.stat()
            yield StoredBlob(entry.name, found.st_size if entry.is_file() else 0, found.st_mtime)


@contextlib.contextmanager
def _tolerated(folder: Path) -> Iterator[None]:
    """A missing folder counts as empty; one that cannot be read is :class:`Unavailable`."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwilling("tidy", folder, error) from error


def unwilling(verb: str, path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"cannot {verb} {path}: {error.strerror}; it is tried again until the disk has room and lets us use this folder",
        code="disk",
        retry_after=5,
    )


def signature(path: Path) -> tuple[int, int, int]:
    """What of a file is another where it was replaced or written again."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def chunks_of(parts: Iterable[Part]) -> Iterator[memoryview]:
    """What parts hold, a chunk at a time, without a copy of it."""
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

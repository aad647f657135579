"""The files of versions and checkpoints: immutable blobs, named by the sha256 of their content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from driftline.errors import CorruptData, Unavailable
from driftline.support import private

OWNER_FILE = ".store"
"""The file that names the store which the blobs belong to."""


class Artifacts:
    """Blobs by sha256, in a folder for each model. A blob is complete or not there: it is written aside, synced, renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root

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

    def _write(self, path: Path, data: bytes) -> None:
        aside = path.parent / f".{secrets.token_hex(8)}"
        try:
            with open(aside, "wb", opener=private.owner_alone) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise

    def get(self, uid: str, digest: str) -> bytes:
        """The blob with this sha256; :class:`CorruptData` when it is missing or damaged."""
        path = self._path(uid, digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise CorruptData(f"the artifact {path} is missing", code="artifact_missing", sha256=digest) from None
        except OSError as error:
            raise _unwilling("read", path, error) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise CorruptData(f"the artifact {path} is damaged", code="artifact_damaged", sha256=digest)
        return data

    def texts(self, uid: str) -> Iterator[bytes]:
        """The blobs of a model that look like JSON: its manifests, as its other blobs are binary."""
        with _reading(self.root / uid):
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
        with _reading(self.root / uid):
            for entry in list(os.scandir(self.root / uid)):
                if entry.name in keep:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if entry.name in retired or time.time() - entry.stat().st_mtime > orphan_seconds:
                        os.unlink(entry.path)
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
        with _reading(self.root):
            now = time.time()
            return [
                entry.name
                for entry in os.scandir(self.root)
                if entry.name not in {*known, OWNER_FILE} and now - entry.stat().st_mtime > orphan_seconds
            ]
        return []

    def remove(self, uid: str) -> None:
        """Deletes everything of a model."""
        shutil.rmtree(self.root / uid, ignore_errors=True)

    def _path(self, uid: str, digest: str) -> Path:
        return self.root / uid / digest


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

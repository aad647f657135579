"""Where the files of versions and checkpoints are: immutable blobs, named by what is in them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from driftline.errors import CorruptData, Unavailable

UNNAMED = ".unnamed"


class Artifacts:
    """Blobs by sha256, a folder a model. A blob is complete or not there: written aside, synced, renamed."""

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
                path.parent.mkdir(parents=True, exist_ok=True)
                self._write(path, data)
        except OSError as error:
            raise Unavailable(f"cannot write {path}: {error.strerror}", code="disk", retry_after=5) from error
        return digest

    def _write(self, path: Path, data: bytes) -> None:
        aside = path.parent / f".{secrets.token_hex(8)}"
        try:
            with aside.open("wb") as file:
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
        """The blob with this sha256; :class:`CorruptData` when it is not there or is not what was written."""
        path = self._path(uid, digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise CorruptData(f"the artifact {path} is missing", code="artifact_missing", sha256=digest) from None
        except OSError as error:
            raise Unavailable(f"cannot read {path}: {error.strerror}", code="disk", retry_after=5) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise CorruptData(f"the artifact {path} is damaged", code="artifact_damaged", sha256=digest)
        return data

    def collect(self, uid: str, keep: Collection[str], orphan_seconds: float, retired: Collection[str] = ()) -> int:
        """Deletes the blobs of a model that are not in ``keep``: ``retired`` ones at once, others when old enough.

        Returns:
            How many went.
        """
        gone = 0
        with contextlib.suppress(FileNotFoundError):
            for entry in list(os.scandir(self.root / uid)):
                if entry.name in keep:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if entry.name in retired or time.time() - entry.stat().st_mtime > orphan_seconds:
                        os.unlink(entry.path)
                        gone += 1
        return gone

    def begin(self, uid: str) -> None:
        """Marks the files to come as those of a model that has no name yet; :class:`Unavailable` when the disk refuses."""
        path = self._path(uid, UNNAMED)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise Unavailable(f"cannot write {path}: {error.strerror}", code="disk", retry_after=5) from error

    def settle(self, uid: str) -> None:
        """The model has its name."""
        (self.root / uid / UNNAMED).unlink(missing_ok=True)

    def unnamed(self, seconds: float) -> list[str]:
        """The models that were begun longer ago than ``seconds``, and have not got their name."""
        before = time.time() - seconds
        return [mark.parent.name for mark in self.root.glob(f"*/{UNNAMED}") if mark.stat().st_mtime < before]

    def remove(self, uid: str) -> None:
        """Deletes everything of a model."""
        shutil.rmtree(self.root / uid, ignore_errors=True)

    def _path(self, uid: str, digest: str) -> Path:
        return self.root / uid / digest


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

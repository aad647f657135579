"""Files that are complete or not there: written aside, synced, and renamed while nobody deletes."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from driftline.store.blobs import chunks_of
from driftline.store.encryption import Part
from driftline.support import private


@contextlib.contextmanager
def written_aside(folder: Path, parts: Iterable[Part]) -> Iterator[Path]:
    """A new file of these parts, synced, which the block renames; it goes where the block fails."""
    aside = folder / f".{secrets.token_hex(8)}"
    try:
        with open(aside, "wb", buffering=0, opener=private.owner_alone) as file:
            for chunk in chunks_of(parts):
                _write_all(file, chunk)
            os.fsync(file.fileno())
        yield aside
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While the block runs nobody else has the lock of this folder, where the file system knows locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Lets the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def signature(path: Path) -> tuple[int, int, int]:
    """What of a file is another where it was replaced or written again."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _write_all(file: io.FileIO, data: memoryview) -> None:
    """Writes to an unbuffered file, which may take a part at once."""
    while data:
        data = data[file.write(data) :]

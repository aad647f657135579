"""Whose the artifacts are, and who uses them: the store that they belong to, and a note of each worker.

App and worker meet in the artifacts, so each worker leaves a note there: who does not find it keeps its artifacts elsewhere.
Nothing here is of a model, and nothing is encrypted.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from driftline.store.blobs import unwilling
from driftline.store.encryption import Part
from driftline.store.file_writes import sync_folder, written_aside
from driftline.support import private

OWNER_FILE = ".store"
"""The file that names the store which the blobs belong to."""
NOTE = ".worker-"
"""How the name of a file begins that is a worker's note."""


class StoredBlob(NamedTuple):
    """A blob that is there, or a model's folder; when it was written, in seconds since 1970."""

    name: str
    bytes: int
    modified: float


class Notes:
    """Those in the folder of the artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root

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
        with tolerated(self.root):
            (self.root / note_name(owner)).unlink(missing_ok=True)

    def remove_abandoned_notes(self, orphan_seconds: float) -> None:
        """Removes the notes that nobody has written again for so long."""
        with tolerated(self.root):
            for note in listed(self.root):
                if note.name.startswith(NOTE) and self._now() - note.modified > orphan_seconds:
                    (self.root / note.name).unlink(missing_ok=True)

    def _now(self) -> float:
        """The time by the clock that dates what is stored, in seconds since 1970."""
        return time.time()

    @property
    def place(self) -> str:
        """Where they are, as messages name it."""
        return str(self.root.resolve())

    def _write(self, path: Path, parts: Iterable[Part], syncs_folder: bool = True) -> None:
        with written_aside(path.parent, parts) as aside:
            aside.rename(path)
            if syncs_folder:
                sync_folder(path.parent)


def note_name(owner: str) -> str:
    """The name of the file that is a worker's note."""
    return NOTE + quote(owner, safe="")


def listed(folder: Path) -> Iterator[StoredBlob]:
    for entry in list(os.scandir(folder)):
        with contextlib.suppress(FileNotFoundError):
            found = entry.stat()
            yield StoredBlob(entry.name, found.st_size if entry.is_file() else 0, found.st_mtime)


@contextlib.contextmanager
def tolerated(folder: Path) -> Iterator[None]:
    """A missing folder counts as empty; one that cannot be read is :class:`Unavailable`."""
    try:
        yield
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwilling("tidy", folder, error) from error

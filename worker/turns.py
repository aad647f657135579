"""Which model a worker computes for at the moment, in a file that outlives its process.

A model's code may end the whole process: it calls ``os._exit``, crashes in a library, or takes all memory. Nothing in the
process can tell of that any more. So the worker names the model in its turn file before each function that runs on the compute
thread, and takes the name back afterwards. The write goes to the page cache, which the death of a process leaves as it is.
Whoever takes over a lease that was not released reads there which model's turn it was.

A kill -9 from outside looks the same. So one death counts little: a model is set aside only after several in a row, without a
committed step in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from driftline.support import private

logger = logging.getLogger("driftline.worker")

MAX_UID_BYTES = 64
NOBODY = b"\0" * MAX_UID_BYTES


class TurnFile:
    """The turn file of the worker ``owner``, locked for as long as its process lives.

    If the disk refuses the file, learning goes on and no turns are noted.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder = folder
        self.owner = owner
        self._left: str | None = None
        self._file = self._open()

    def _open(self) -> int | None:
        try:
            private.make_folder(self.folder)
            file = os.open(_path(self.folder, self.owner), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _lock(file)
            # A former process of this name may have died in a turn.
            self._left = _uid(os.pread(file, MAX_UID_BYTES, 0))
            os.pwrite(file, NOBODY, 0)
        except OSError as error:
            logger.warning("turns are not noted: %s", error)
            return None
        return file

    @contextlib.contextmanager
    def of(self, uid: str) -> Iterator[None]:
        """While the block runs, the worker computes for this model."""
        self._write(uid.encode().ljust(MAX_UID_BYTES, b"\0"))
        try:
            yield
        finally:
            self._write(NOBODY)

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, data, 0)

    def died_in(self, uid: str, former: str) -> bool:
        """Whether the worker ``former`` died while it computed for this model; true once for a worker of the same name."""
        if former == self.owner:
            is_it, self._left = self._left == uid, None if self._left == uid else self._left
            return is_it
        try:
            with open(_path(self.folder, former), "rb") as file:
                return _is_dead(file.fileno()) and _uid(file.read(MAX_UID_BYTES)) == uid
        except OSError:
            return False

    def remove_abandoned(self, seconds: float, now: float) -> None:
        """Removes the files of dead workers that are older than ``seconds``."""
        with contextlib.suppress(FileNotFoundError):
            for entry in list(os.scandir(self.folder)):
                with contextlib.suppress(OSError), open(entry.path, "rb") as file:
                    if now - entry.stat().st_mtime > seconds and _is_dead(file.fileno()):
                        os.unlink(entry.path)

    def close(self) -> None:
        """Removes the file when the worker ends in order."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(_path(self.folder, self.owner))
            os.close(self._file)
            self._file = None


def _path(folder: Path, owner: str) -> Path:
    return folder / quote(owner, safe="")


def _uid(data: bytes) -> str | None:
    return data.rstrip(b"\0").decode(errors="replace") or None


def _lock(file: int) -> None:
    """Takes the lock; a worker that checks whether this one lives may hold it for a moment."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:  # Some file systems have no locks.
            return


def _is_dead(file: int) -> bool:
    """Whether nobody holds the lock; without locks every worker whose lease has run out counts as dead."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True

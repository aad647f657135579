"""Files and folders that their owner alone may read: what is stored holds inputs, labels and keys."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o600, 0o700


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it that are missing, each for its owner alone."""
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            with contextlib.suppress(FileExistsError):
                folder.mkdir(FOLDER_MODE)
    path.mkdir(exist_ok=True)  # Raises where something else has this name.


def owner_alone(path: str, flags: int) -> int:
    """An opener for :func:`open`: a file that it creates is for its owner alone."""
    return os.open(path, flags, FILE_MODE)


def close_to_others(folder: Path) -> None:
    """Takes from others than the owner what an earlier release, or a wide umask, has let them do with a folder."""
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o077:
            folder.chmod(mode & FOLDER_MODE)

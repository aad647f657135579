"""What copies of objects may take of a disk."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

FRESH_SECONDS = 60.0
"""What was used so lately stays in the cache, however full it is."""


class CacheBudget:
    """Removes copies from the cache that were used least lately, so that the others have room.

    Args:
        root: the folder of the cache.
        most_bytes: what all copies may take, beside those that were used a moment ago.
    """

    def __init__(self, root: Path, most_bytes: int) -> None:
        self.root = root
        self.most_bytes = most_bytes
        self._bytes: int | None = None

    def added(self, path: Path) -> list[Path]:
        """Counts a new copy; those that it has removed for it."""
        with contextlib.suppress(OSError):
            if self._bytes is not None:
                self._bytes += path.stat().st_size
        return self._shrink() if self._bytes is None or self._bytes > self.most_bytes else []

    def _shrink(self) -> list[Path]:
        """Other processes have the same cache: what is there is counted again, and what is gone already is no trouble."""
        copies, gone = [], []
        for path in self.root.glob("*/*"):
            with contextlib.suppress(OSError):
                found = path.stat()
                copies.append((found.st_mtime, found.st_size, path))
        left = sum(size for _, size, _ in copies)
        is_full = left > self.most_bytes
        for modified, size, path in sorted(copies) if is_full else ():
            if left <= 0.9 * self.most_bytes or time.time() - modified < FRESH_SECONDS:
                break
            path.unlink(missing_ok=True)
            gone.append(path)
            left -= size
        self._bytes = left
        return gone
